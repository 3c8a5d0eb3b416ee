//! Asks container runtimes and the kubelet what containers are called: a network, but no
//! kernel.
//!
//! Nobody waits for it. It has a thread of its own, which takes questions from a bounded
//! queue and gives answers when they are there; each request has a deadline and a limit of
//! bytes, who fails is left alone for a while, and answers are kept. All is read only: GET
//! of Docker's API, lists of the CRI.
//!
//! Sockets are looked for where runtimes have them, in the daemon's own root and, as it may
//! run in a container, in the host's. Those of other users than root aren't asked: they
//! could say anything of anybody's containers. The thread may wait for ever for a file
//! system on which a socket is; then questions go unanswered, as they do without it.
//!
//! - [`settings`]: whom to ask
//! - [`places`]: where runtimes have their sockets
//! - [`client`]: one request
//! - [`runtime`], [`kubelet`]: what is asked
//! - [`backoff`]: whom to leave alone, and for how long
//! - [`asker`]: from a question to its answer
//! - [`inspect`]: who is there, for `observer check`

#![warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::string_slice))]

mod asker;
mod backoff;
mod client;
pub mod inspect;
mod kubelet;
mod places;
mod runtime;
pub mod settings;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use observer_identity::container::Container;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, channel};

use asker::Asker;
pub use settings::{Kind, KubeletSettings, Settings, Socket};

/// So many questions wait; what finds no place isn't asked.
const QUESTIONS: usize = 4096;

/// So many are being asked at the same time.
const AT_ONCE: usize = 8;

/// Who is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The container's id, as its cgroup is called.
    pub container: String,
    /// The pod's uid, if its cgroup says that it is in one.
    pub pod: Option<String>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This is known.
    Known(Arc<Container>),
    /// Whoever is there doesn't know it.
    Unknown,
    /// Somebody who may know it didn't answer, or not so that it can be understood.
    Unanswered,
}

/// Asks on a thread of its own.
#[derive(Debug)]
pub struct Containers {
    questions: Sender<Question>,
    answers: Receiver<(String, Answer)>,
}

impl Containers {
    /// Starts the thread; `None` if nobody is to be asked.
    ///
    /// # Errors
    /// There can be no thread, or no runtime on it.
    pub fn start(settings: Settings) -> io::Result<Option<Self>> {
        if !settings.ask {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (questions, mut asked) = channel::<Question>(QUESTIONS);
        // Bounded by the questions.
        let (answer, answers) = mpsc::channel();
        let work = async move {
            let asker = Arc::new(Asker::new(settings));
            let places = Arc::new(Semaphore::new(AT_ONCE));
            while let Some(question) = asked.recv().await {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let (asker, answer) = (Arc::clone(&asker), answer.clone());
                tokio::spawn(async move {
                    let found = asker.answer(&question).await;
                    // Nobody listens any more at the daemon's end.
                    let _ = answer.send((question.container, found));
                    drop(place);
                });
            }
        };
        std::thread::Builder::new()
            .name("observer-names".to_owned())
            .spawn(move || runtime.block_on(work))?;
        Ok(Some(Self { questions, answers }))
    }

    /// Takes a question, if there is a place for it.
    pub fn ask(&self, question: Question) -> bool {
        self.questions.try_send(question).is_ok()
    }

    /// The answers that are there, each with its container's id.
    pub fn answers(&self) -> impl Iterator<Item = (String, Answer)> {
        self.answers.try_iter()
    }
}
