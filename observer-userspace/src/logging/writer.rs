//! Standard error, written by a thread of its own. A pipe that nobody reads, a terminal
//! that was stopped (Ctrl-S) or a disk that hangs keeps that thread waiting and nobody
//! else; what finds no room meanwhile is counted, and said when there is room again.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Bytes of lines that may wait.
const LIMIT: usize = 1 << 20;

/// Standard error's.
pub(super) static ERRORS: Queue = Queue::new();

/// Starts the thread.
///
/// # Errors
/// There is none to be had.
pub(super) fn start() -> anyhow::Result<fn() -> Line> {
    ERRORS.start(io::stderr())?;
    Ok(|| Line(&ERRORS))
}

/// Where a line is put.
pub(super) struct Line(&'static Queue);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that wait.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Bytes of them, and of the one that is being written.
    waiting: usize,
    /// Somebody writes them.
    has_writer: bool,
    /// Lines that were not written.
    dropped: u64,
    /// Of these, those that were not said.
    unsaid: u64,
}

impl Queue {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                lines: VecDeque::new(),
                waiting: 0,
                has_writer: false,
                dropped: 0,
                unsaid: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&'static self, out: impl Write + Send + 'static) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.lock().has_writer, true) {
            return Ok(());
        }
        std::thread::Builder::new()
            .name("observer-log".into())
            .spawn(move || self.write_all(out))
            .context("cannot start the thread that writes the log")?;
        Ok(())
    }

    /// Lines that were not written, since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Whether somebody writes them.
    pub(super) fn has_writer(&self) -> bool {
        self.lock().has_writer
    }

    /// Has a line written, if there is room. Never waits.
    pub(super) fn put(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.waiting > 0 && state.waiting + line.len() > LIMIT {
            state.dropped += 1;
            state.unsaid += 1;
            return;
        }
        state.waiting += line.len();
        state.lines.push_back(line);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until all is written, for so long at most.
    pub(super) fn flush(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        while state.waiting > 0 && state.has_writer {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.changed.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The thread's work, for as long as the process is there.
    fn write_all(&self, mut out: impl Write) {
        loop {
            let mut state = self.lock();
            let line = loop {
                match state.lines.pop_front() {
                    Some(line) => break line,
                    None => state = self.wait(state),
                }
            };
            drop(state);
            // One that is closed, or a disk that is full.
            let failed = out.write_all(&line).is_err();
            let mut state = self.lock();
            state.waiting -= line.len();
            state.dropped += u64::from(failed);
            state.unsaid += u64::from(failed);
            let unsaid = match failed || !state.lines.is_empty() {
                true => 0,
                false => std::mem::take(&mut state.unsaid),
            };
            drop(state);
            self.changed.notify_all();
            if unsaid > 0 {
                tracing::warn!(
                    "{unsaid} log lines were dropped: standard error took no more for a while"
                );
            }
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let woken = self.changed.wait(state);
        woken.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Checks that nobody waits for a pipe that nobody reads, that what finds no room is
    /// counted, and that the rest comes in order when somebody reads.
    #[test]
    fn nobody_waits() {
        static QUEUE: Queue = Queue::new();
        let (mut reader, writer) = io::pipe().expect("a pipe");
        QUEUE.start(writer).expect("a thread");
        let line = |n: usize| format!("{n:0>1023}\n").into_bytes();
        for n in 0..2048 {
            QUEUE.put(line(n));
        }
        let begin = Instant::now();
        QUEUE.flush(Duration::from_millis(20));
        assert!(begin.elapsed() < LONG);
        let dropped = QUEUE.dropped() as usize;
        assert!((1024 - 65..=1024).contains(&dropped), "{dropped}");
        let mut all = vec![0; (2048 - dropped) * 1024];
        reader.read_exact(&mut all).expect("lines");
        for (n, read) in all.chunks(1024).enumerate() {
            // What was written before the pipe was full made room for later ones.
            assert!(n >= 1024 || read == line(n), "{n}");
        }
        QUEUE.flush(LONG);
        QUEUE.put(line(7));
        let mut last = vec![0; 1024];
        reader.read_exact(&mut last).expect("a line");
        assert_eq!(last, line(7));
        assert_eq!(QUEUE.dropped() as usize, dropped);
    }

    /// Checks that lines that can't be written are counted, and that the next are written.
    #[test]
    fn failures_are_counted() {
        static QUEUE: Queue = Queue::new();
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        QUEUE.start(writer).expect("a thread");
        for _ in 0..3 {
            QUEUE.put(b"nobody\n".to_vec());
        }
        QUEUE.flush(LONG);
        assert_eq!(QUEUE.dropped(), 3);
    }
}
