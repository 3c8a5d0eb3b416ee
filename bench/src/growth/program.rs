//! The programs that make something grow: C sources under `testkit/programs`,
//! driven through their standard input and output.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use observer_testkit::chain::source;

/// How long one may take to end when its input ends.
const END_LIMIT: Duration = Duration::from_secs(20);

/// A compiled program; removed when dropped.
pub struct Compiled {
    _folder: TempDir,
    path: PathBuf,
}

impl Compiled {
    /// Compiles `programs/NAME.c`.
    pub fn new(name: &str) -> Result<Self> {
        let folder = TempDir::new().context("cannot make a temporary folder")?;
        let path = folder.path().join(name);
        let mut compiler = Command::new("cc");
        compiler
            .args(["-O2", "-fomit-frame-pointer", "-o"])
            .arg(&path);
        let result = compiler.arg(source(&format!("{name}.c"))).output();
        let result = result.context("cannot start cc")?;
        let said = String::from_utf8_lossy(&result.stderr);
        ensure!(result.status.success(), "{compiler:?}: {said}");
        Ok(Self {
            _folder: folder,
            path,
        })
    }

    /// Starts it.
    pub fn start(&self, arguments: &[&str]) -> Result<Program> {
        Program::start(Command::new(&self.path).args(arguments))
    }
}

/// A running program; ended when dropped.
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts a command.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("a piped output")?);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    /// Its next line.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the program ended early");
        Ok(line.trim().to_owned())
    }

    /// Waits until it says that it is ready.
    pub fn ready(&mut self) -> Result<()> {
        let line = self.line()?;
        ensure!(line == "ready", "not ready: {line}");
        Ok(())
    }

    /// Tells it something.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("a piped input")?;
        writeln!(input, "{line}").context("the program ended early")
    }

    /// Tells it something and returns the number that it answers.
    pub fn ask(&mut self, line: &str) -> Result<u64> {
        self.tell(line)?;
        self.number()
    }

    /// Its next line, a number.
    pub fn number(&mut self) -> Result<u64> {
        let line = self.line()?;
        line.parse()
            .with_context(|| format!("not a number: {line}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It ends its own children when its input ends.
        self.input = None;
        let begin = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if begin.elapsed() > END_LIMIT {
                // They die with it.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
