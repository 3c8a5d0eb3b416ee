//! From a question to its answer: who is there, what was said before, who is left alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use observer_identity::container::Container;
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::client::Failure;
use crate::kubelet::Kubelet;
use crate::places;
use crate::runtime;
use crate::settings::{Settings, Socket};
use crate::{Answer, Question};

/// So many answers are kept.
const KEPT: usize = 4096;

/// So long is what is known: containers can be renamed.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// So long it is that nobody knows one.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// Sockets are looked for again after this.
const FOUND_FOR: Duration = Duration::from_secs(10);

/// Answers questions.
pub(crate) struct Asker {
    settings: Settings,
    kubelet: Option<Arc<(Kubelet, Backoff)>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    runtimes: Vec<Arc<Runtime>>,
    found: Option<Instant>,
    kept: HashMap<String, (Instant, Answer)>,
}

struct Runtime {
    socket: Socket,
    backoff: Backoff,
}

/// What came of asking one.
enum Said {
    /// It knows this.
    Known(Box<Container>),
    /// It doesn't know it.
    Unknown,
    /// It failed, or isn't asked for a while.
    Nothing,
}

impl Asker {
    pub(crate) fn new(settings: Settings) -> Self {
        let kubelet = settings.kubelet.clone();
        Self {
            kubelet: kubelet.map(|it| Arc::new((Kubelet::new(it), Backoff::default()))),
            settings,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all who are there at the same time; runtimes are believed in the order in
    /// which they are found, the kubelet about pods.
    pub(crate) async fn answer(&self, question: &Question) -> Answer {
        if let Some(kept) = self.kept(&question.container) {
            return kept;
        }
        // Ids are part of a path.
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !question.container.bytes().all(is_id) {
            return Answer::Unknown;
        }
        let runtimes = self.runtimes();
        let mut asked = JoinSet::new();
        for (place, runtime) in runtimes.into_iter().enumerate() {
            let id = question.container.clone();
            asked.spawn(async move { (place, runtime.said(&id).await) });
        }
        if let Some(kubelet) = self.kubelet.clone().filter(|_| question.pod.is_some()) {
            let question = question.clone();
            asked.spawn(async move { (usize::MAX, of_kubelet(&kubelet, &question).await) });
        }
        let mut said = asked.join_all().await;
        said.sort_by_key(|(place, _)| *place);
        let answer = of_all(
            said.into_iter()
                .map(|(place, said)| (place == usize::MAX, said)),
        );
        self.keep(&question.container, &answer);
        answer
    }

    fn kept(&self, container: &str) -> Option<Answer> {
        let state = self.state();
        let (at, answer) = state.kept.get(container)?;
        let limit = match answer {
            Answer::Known(_) => KNOWN_FOR,
            Answer::Unknown | Answer::Unanswered => UNKNOWN_FOR,
        };
        (at.elapsed() < limit).then(|| answer.clone())
    }

    fn keep(&self, container: &str, answer: &Answer) {
        // Who failed says itself when it is asked again.
        if *answer == Answer::Unanswered {
            return;
        }
        let mut state = self.state();
        // So many come only where containers live for seconds: those are over.
        if state.kept.len() >= KEPT {
            state.kept.clear();
        }
        let entry = (Instant::now(), answer.clone());
        state.kept.insert(container.to_owned(), entry);
    }

    /// The runtimes that are there; those that were there before stay what they were.
    fn runtimes(&self) -> Vec<Arc<Runtime>> {
        let mut state = self.state();
        if state.found.is_none_or(|at| at.elapsed() >= FOUND_FOR) {
            state.found = Some(Instant::now());
            let sockets = self.settings.sockets.clone();
            let sockets = sockets.unwrap_or_else(places::find);
            let before = std::mem::take(&mut state.runtimes);
            let runtimes = sockets.into_iter().map(|socket| {
                let known = before.iter().find(|known| known.socket == socket);
                known.cloned().unwrap_or_else(|| {
                    Arc::new(Runtime {
                        socket,
                        backoff: Backoff::default(),
                    })
                })
            });
            state.runtimes = runtimes.collect();
        }
        state.runtimes.clone()
    }
}

impl Runtime {
    async fn said(&self, id: &str) -> Said {
        if !self.backoff.is_over(Instant::now()) {
            return Said::Nothing;
        }
        let result = runtime::ask(&self.socket, id).await;
        let (kind, path) = (self.socket.kind.name(), self.socket.path.display());
        let whom = format!("{kind} at {path}");
        self.backoff.note(&whom, &result, Instant::now());
        said(result)
    }
}

async fn of_kubelet(kubelet: &(Kubelet, Backoff), question: &Question) -> Said {
    let (kubelet, backoff) = kubelet;
    if !backoff.is_over(Instant::now()) {
        return Said::Nothing;
    }
    let result = kubelet.ask(question).await;
    let whom = format!("the kubelet at {}", kubelet.url());
    backoff.note(&whom, &result, Instant::now());
    said(result)
}

fn said(result: Result<Option<Container>, Failure>) -> Said {
    match result {
        Ok(Some(container)) => Said::Known(Box::new(container)),
        Ok(None) => Said::Unknown,
        Err(_) => Said::Nothing,
    }
}

/// What all said together, each with whether it is the kubelet.
fn of_all(all: impl Iterator<Item = (bool, Said)>) -> Answer {
    let mut known: Option<Container> = None;
    let mut missing = false;
    for (is_kubelet, said) in all {
        match said {
            Said::Known(container) => {
                let container = *container;
                known = Some(match known.take() {
                    // It knows who controls the pod, which runtimes' labels only hint at.
                    Some(before) if is_kubelet => Container {
                        pod: container.pod.clone(),
                        ..Container::default()
                    }
                    .or(before)
                    .or(container),
                    Some(before) => before.or(container),
                    None => container,
                });
            }
            Said::Unknown => {}
            Said::Nothing => missing = true,
        }
    }
    match known {
        Some(container) => Answer::Known(Arc::new(container)),
        None if missing => Answer::Unanswered,
        None => Answer::Unknown,
    }
}
