//! What processes wait for: their threads' states, system calls and stacks, as
//! far as we may see them.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the debugger may take.
const DEBUGGER: Duration = Duration::from_secs(30);

/// A description of all threads of these processes, and the user stacks of the
/// first, where there is a gdb.
pub fn describe(pids: &[i32], first: i32) -> String {
    let mut text = String::from("\nwhat its processes waited for when its time was over:\n");
    for pid in pids {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        // Writing to a String can't fail.
        let _ = writeln!(text, "process {pid}: {command}");
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let read = |file: &str| {
                let text = fs::read_to_string(thread.path().join(file)).unwrap_or_default();
                text.trim().to_owned()
            };
            let status = read("status");
            let state = status.lines().find_map(|line| line.strip_prefix("State:"));
            let _ = writeln!(
                text,
                "  thread {} {}: {}; in {}; system call {}",
                thread.file_name().display(),
                read("comm"),
                state.unwrap_or("gone").trim(),
                read("wchan"),
                read("syscall"),
            );
            for line in read("stack").lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    text.push_str(&user_stacks(first).unwrap_or_default());
    text
}

/// What gdb says about a process.
fn user_stacks(pid: i32) -> Option<String> {
    let mut gdb = Command::new("gdb");
    gdb.args(["--batch", "--quiet", "-ex", "thread apply all backtrace 30"]);
    gdb.args(["-p", &pid.to_string()]);
    gdb.stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = gdb.stdout(Stdio::piped()).spawn().ok()?;
    let mut output = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read is enough.
        let _ = std::io::Read::read_to_end(&mut output, &mut bytes);
        bytes
    });
    let begin = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && begin.elapsed() < DEBUGGER {
        std::thread::sleep(Duration::from_millis(50));
    }
    // Both fail for one that has ended.
    let _ = child.kill();
    let _ = child.wait();
    let bytes = reader.join().ok()?;
    Some(format!("user stacks:\n{}", String::from_utf8_lossy(&bytes)))
}
