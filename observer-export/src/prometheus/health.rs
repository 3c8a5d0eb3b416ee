//! Whether the daemon lives, and whether it sees all that it should: what `/healthz` and
//! `/readyz` answer.

use std::sync::{Mutex, OnceLock, PoisonError};

/// Says why the daemon's loop stands, if it does.
pub type Standing = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// An answer: whether all is well, and what is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, else 503.
    pub good: bool,
    /// Lines.
    pub text: String,
}

/// What is known of the daemon; it is asked from another thread than the one that it is of.
#[derive(Default)]
pub struct Health {
    standing: OnceLock<Standing>,
    /// What is degraded, by name; `None` until something is observed.
    degraded: Mutex<Option<Vec<String>>>,
}

impl Health {
    /// From now on this says whether the loop goes on.
    pub fn watched(&self, standing: Standing) {
        // The daemon has one loop.
        let _ = self.standing.set(standing);
    }

    /// Something is observed, with these lines on what works less than it should.
    pub fn observing(&self, degraded: Vec<String>) {
        *self.degraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(degraded);
    }

    /// Whether the loop goes on. One that hasn't begun doesn't stand.
    pub fn live(&self) -> Answer {
        match self.standing.get().and_then(|standing| standing()) {
            Some(why) => Answer {
                good: false,
                text: format!("{why}\n"),
            },
            None => Answer {
                good: true,
                text: "ok\n".to_owned(),
            },
        }
    }

    /// Whether something is observed. What is degraded is named, but no reason to be left
    /// out: nobody else would see more of this host.
    pub fn ready(&self) -> Answer {
        let live = self.live();
        if !live.good {
            return live;
        }
        let degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        match &*degraded {
            None => Answer {
                good: false,
                text: "nothing is observed yet\n".to_owned(),
            },
            Some(lines) => {
                let lines = lines.iter().map(|line| format!("degraded: {line}\n"));
                Answer {
                    good: true,
                    text: format!("ready\n{}", lines.collect::<String>()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Checks all states in their order: starting, observing, degraded, standing, going on.
    #[test]
    fn states() {
        let answer = |good, text: &str| Answer {
            good,
            text: text.to_owned(),
        };
        let health = Health::default();
        assert_eq!(health.live(), answer(true, "ok\n"));
        assert_eq!(health.ready(), answer(false, "nothing is observed yet\n"));
        health.observing(Vec::new());
        assert_eq!(health.ready(), answer(true, "ready\n"));
        health.observing(vec!["tcp: blind".to_owned()]);
        assert_eq!(
            health.ready(),
            answer(true, "ready\ndegraded: tcp: blind\n")
        );
        let stands = Arc::new(AtomicBool::new(true));
        let theirs = Arc::clone(&stands);
        health.watched(Box::new(move || {
            theirs
                .load(Ordering::Relaxed)
                .then(|| "it stands".to_owned())
        }));
        assert_eq!(health.live(), answer(false, "it stands\n"));
        assert_eq!(health.ready(), answer(false, "it stands\n"));
        stands.store(false, Ordering::Relaxed);
        assert_eq!(health.live(), answer(true, "ok\n"));
    }
}
