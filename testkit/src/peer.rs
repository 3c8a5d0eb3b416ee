//! A process of a chosen name, in a chosen network namespace, that does TCP on
//! command; see `src/bin/observer-peer.rs` for the commands.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A running peer; ends when dropped.
pub struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts one named `comm` (at most 15 bytes), in our own network namespace
    /// or in one that `ip netns` knows.
    pub fn start(comm: &str, namespace: Option<&str>) -> Result<Self> {
        let program = crate::workload::program()?.with_file_name("observer-peer");
        let mut child = Command::new(&program)
            .arg(comm)
            .args(namespace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("a piped output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// Has it carry out a command, and returns its answer.
    pub fn ask(&mut self, command: &str) -> Result<String> {
        let input = self.input.as_mut().context("a piped input")?;
        writeln!(input, "{command}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.trim_end().split_once(' ') {
            Some(("ok", answer)) => Ok(answer.to_string()),
            _ => bail!("{command}: {line:?}"),
        }
    }

    /// The same for answers that are numbers.
    pub fn number(&mut self, command: &str) -> Result<u64> {
        let answer = self.ask(command)?;
        answer
            .parse()
            .with_context(|| format!("{command}: {answer}"))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
