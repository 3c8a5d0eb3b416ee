//! Standard output, written by a thread of its own: whoever reads it may stop
//! doing so for a while without anybody in the daemon waiting.

use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::sync::oneshot;

use observer_export::terminal::Shown;

/// Bytes of text that may wait for the reader.
const LIMIT: usize = 8 << 20;

/// How long the end waits for a reader who takes nothing.
const UNREAD: Duration = Duration::from_secs(1);

/// Bytes that are written at once, so that it is seen whether somebody reads.
const PIECE: usize = 64 << 10;

/// Prints texts in the background.
pub(super) struct Printer {
    texts: Sender<Shown>,
    state: Arc<Mutex<State>>,
    /// Resolves when all is written or nothing more can be.
    done: oneshot::Receiver<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that wait.
    waiting: usize,
    /// Nobody reads any more.
    closed: bool,
    /// What the last writes came to, if they failed and that wasn't said.
    error: Option<io::Error>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Printer {
    /// Prints to standard output. `failed` is called on another thread whenever
    /// something can't be written, for one because nobody reads any more.
    ///
    /// # Errors
    /// The thread can't be started.
    pub(super) fn start(failed: impl Fn() + Send + 'static) -> Result<Self> {
        Self::to(io::stdout(), failed)
    }

    fn to(out: impl Write + Send + 'static, failed: impl Fn() + Send + 'static) -> Result<Self> {
        let (texts, waiting) = channel();
        let (end, done) = oneshot::channel();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("printer".to_owned())
            .spawn(move || {
                write_all(out, &waiting, &shared, failed);
                // Nobody may be waiting for the end.
                let _ = end.send(());
            })
            .context("the thread that prints can't be started")?;
        Ok(Self { texts, state, done })
    }

    /// Has a text printed; one for which nobody reads any more is dropped.
    ///
    /// # Errors
    /// Too much waits, so that the text is dropped; or one before it couldn't be
    /// written.
    pub(super) fn print(&self, text: Shown) -> Result<()> {
        let mut state = lock(&self.state);
        if state.closed || text.as_str().is_empty() {
            return Ok(());
        }
        let error = state.error.take();
        let size = text.as_str().len();
        let room = state.waiting == 0 || state.waiting + size <= LIMIT;
        // The thread ends only with this end of the channel, or closed.
        if room && self.texts.send(text).is_ok() {
            state.waiting += size;
        }
        drop(state);
        if !room {
            return Err(anyhow!(
                "standard output isn't read fast enough: {size} bytes are dropped"
            ));
        }
        error.map_or(Ok(()), |error| {
            Err(anyhow!(error).context("cannot write to standard output"))
        })
    }

    /// Waits until all is written, for so long at most, and no longer than somebody
    /// seems to read it.
    pub(super) async fn finish(self, limit: Duration) {
        let Self {
            texts,
            state,
            mut done,
        } = self;
        drop(texts);
        let until = Instant::now() + limit;
        let waiting = || lock(&state).waiting;
        let mut before = usize::MAX;
        while waiting() < before && Instant::now() < until {
            before = waiting();
            let left = until.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left.min(UNREAD), &mut done)
                .await
                .is_ok()
            {
                return;
            }
        }
        tracing::warn!(
            "nobody reads standard output: {} bytes are dropped",
            waiting()
        );
    }
}

/// The thread: writes until there are no more texts, or nobody reads any more.
fn write_all(
    mut out: impl Write,
    texts: &Receiver<Shown>,
    state: &Mutex<State>,
    failed: impl Fn(),
) {
    for text in texts {
        let mut left = text.as_str().len();
        let mut written = Ok(());
        for piece in text.as_str().as_bytes().chunks(PIECE) {
            written = out.write_all(piece).and_then(|()| out.flush());
            if written.is_err() {
                break;
            }
            left -= piece.len();
            lock(state).waiting -= piece.len();
        }
        let mut state = lock(state);
        state.waiting -= left;
        let Err(error) = written else {
            continue;
        };
        // A closed pipe is nobody's mistake.
        state.closed = error.kind() == ErrorKind::BrokenPipe;
        state.error = (!state.closed).then_some(error);
        let closed = state.closed;
        drop(state);
        failed();
        if closed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Takes nothing until it is opened; then fails as told, once for each
    /// write.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<bool>, Condvar)>, Arc<Mutex<Vec<u8>>>);

    impl Gate {
        fn open(&self) {
            *self.0.0.lock().expect("not poisoned") = true;
            self.0.1.notify_all();
        }
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut is_open = self.0.0.lock().expect("not poisoned");
            while !*is_open {
                is_open = self.0.1.wait(is_open).expect("not poisoned");
            }
            self.1.lock().expect("not poisoned").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Checks that nobody waits for a reader who doesn't read, that what finds
    /// no room is told of, and that the rest arrives in order.
    #[tokio::test]
    async fn nobody_waits() -> Result<()> {
        let gate = Gate::default();
        let printer = Printer::to(gate.clone(), || {})?;
        let text = |n: u8| String::from_utf8(vec![b'a' + n; LIMIT / 4]);
        let mut results = Vec::new();
        for n in 0..6 {
            results.push(
                printer
                    .print(text(n)?.into())
                    .map_err(|error| error.to_string()),
            );
        }
        assert_eq!(results[..4], [const { Ok(()) }; 4]);
        let error = results[4].as_ref().expect_err("there is no room");
        assert!(
            error.contains(&format!("{} bytes are dropped", LIMIT / 4)),
            "{error}"
        );
        assert!(results[5].is_err());
        gate.open();
        printer.finish(Duration::from_secs(20)).await;
        let expected: String = (0..4).map(|n| text(n).unwrap_or_default()).collect();
        let written = gate.1.lock().expect("not poisoned").clone();
        assert!(written == expected.as_bytes(), "{} bytes", written.len());
        Ok(())
    }

    /// Checks that the end is in time though nobody reads.
    #[tokio::test]
    async fn ends_in_time() -> Result<()> {
        let gate = Gate::default();
        let printer = Printer::to(gate.clone(), || {})?;
        printer.print("text".into())?;
        let begin = Instant::now();
        printer.finish(Duration::from_millis(50)).await;
        assert!(begin.elapsed() < Duration::from_secs(10));
        gate.open();
        Ok(())
    }

    struct Fails(Receiver<ErrorKind>);

    impl Write for Fails {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.try_recv() {
                Ok(kind) => Err(kind.into()),
                Err(_) => Ok(bytes.len()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Checks that a failure is told with the next text and that later ones are
    /// written all the same, but that a closed pipe is the end and no error.
    #[tokio::test]
    async fn failures() -> Result<()> {
        let (fail, kinds) = channel();
        let failed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&failed);
        let printer = Printer::to(Fails(kinds), move || {
            count.fetch_add(1, Ordering::SeqCst);
        })?;
        let settle = |expected: usize| {
            let failed = Arc::clone(&failed);
            async move {
                while failed.load(Ordering::SeqCst) < expected {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        fail.send(ErrorKind::StorageFull)?;
        printer.print("lost".into())?;
        tokio::time::timeout(Duration::from_secs(20), settle(1)).await?;
        let error = printer.print("written".into());
        let error = error.expect_err("the first text failed").to_string();
        assert_eq!(error, "cannot write to standard output");
        fail.send(ErrorKind::BrokenPipe)?;
        printer.print("nobody".into())?;
        tokio::time::timeout(Duration::from_secs(20), settle(2)).await?;
        printer.print("reads".into())?;
        assert!(lock(&printer.state).closed);
        Ok(())
    }
}
