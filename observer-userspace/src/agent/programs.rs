//! Finds out what processes run, where their name and cgroup don't say it, and tells the
//! kernel half.
//!
//! A workload begins as a cgroup and a name. If the first process by that name says more
//! of itself (a service's name, a script), the workload becomes that program's, and the
//! next process by that name begins another one. Whoever is new in a workload that stays
//! what its name says is looked at a moment later.

use std::time::Instant;

use observer_common::workload::{Given, NO_PROGRAM, ProgramId, WorkloadId, WorkloadKey};

use super::Agent;
use super::audit::Audit;
use super::commands::Commands;
use super::looks::{Look, Looks};
use crate::foreign;
use crate::identity::Resolver;
use crate::kernel::Kernel;
use crate::kernel::programs::Teller;
use crate::kernel::workload_ids::Listed;

/// What is found, until the kernel half is told.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    looks: Looks,
    /// Workloads that are a program's.
    bound: Vec<((WorkloadKey, WorkloadId), ProgramId)>,
    given: Vec<(u32, Given)>,
    commands: Commands,
    audit: Audit,
    /// When those were noted that were there at first, until they were looked at.
    begun: Option<Instant>,
}

impl Discovery {
    /// All processes that are there already.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        self.begun = Some(now);
        for process in foreign::process::all() {
            let look = Look {
                process,
                of: None,
                given: None,
                is_again: false,
            };
            self.looks.first(look, now);
        }
    }

    /// What processes were started with.
    pub(super) fn commands(&mut self) -> &mut Commands {
        &mut self.commands
    }

    /// What goes through all processes again.
    pub(super) fn audit(&mut self) -> &mut Audit {
        &mut self.audit
    }

    /// Looks again at those that were chosen. `listed` knows workloads.
    fn look_again<'a>(
        &mut self,
        resolver: &mut Resolver,
        listed: impl Fn(WorkloadId) -> Option<&'a Listed>,
    ) {
        for (process, id) in self.audit.take() {
            let of = listed(id).map(|listed| (listed.key, id));
            // Its time will come, or nobody can be told apart any more.
            if of.is_none() || self.looks.has(process) || resolver.unnumbered() != 0 {
                continue;
            }
            let seen = resolver.look(process, of.as_ref());
            let Some(seen) = seen.filter(|seen| seen.program != NO_PROGRAM) else {
                continue;
            };
            tracing::debug!(pid = process, "a process was under another name");
            self.audit.correct();
            let given = given(seen.comm, seen.program, seen.time);
            self.given.push((process, given));
        }
    }

    /// A process is new.
    pub(super) fn first(&mut self, look: Look) {
        self.commands.forget(look.process);
        self.looks.first(look, Instant::now());
    }

    /// A process was looked at, for the first time, as the first of a workload.
    pub(super) fn seen(
        &mut self,
        process: u32,
        command: Vec<String>,
        of: (WorkloadKey, WorkloadId),
    ) {
        self.commands.learn(process, command);
        let look = Look {
            process,
            of: Some(of),
            given: None,
            is_again: false,
        };
        self.looks.again(look, Instant::now());
    }

    /// A new workload is a program's, by the word of a process, as of that kernel time (ns).
    pub(super) fn bind(
        &mut self,
        (key, id): (WorkloadKey, WorkloadId),
        process: u32,
        time: u64,
        program: ProgramId,
    ) {
        self.bound.push(((key, id), program));
        if key.program() == NO_PROGRAM {
            self.given.push((process, given(key.comm, program, time)));
        }
    }

    /// Looks at those whose time has come.
    fn look(&mut self, resolver: &mut Resolver) {
        let now = Instant::now();
        for look in self.looks.take(now) {
            let Some(seen) = resolver.look(look.process, look.of.as_ref()) else {
                continue;
            };
            self.commands.learn(look.process, seen.command);
            let known = look.given.unwrap_or(NO_PROGRAM);
            let is_news = seen.program != NO_PROGRAM && seen.program != known;
            if is_news {
                let given = given(seen.comm, seen.program, seen.time);
                self.given.push((look.process, given));
            }
            if let Some((program, (key, id))) = seen.of.zip(look.of) {
                // Who comes by that name may be either.
                self.bound.push(((key, id), program));
            }
            if !seen.is_final {
                let given = if is_news {
                    Some(seen.program)
                } else {
                    look.given
                };
                self.looks.again(Look { given, ..look }, now);
            }
        }
        if self.is_first_done(now) {
            resolver.settle();
        }
        resolver.prune();
    }

    /// Whether all that were there at first were looked at.
    fn is_first_done(&mut self, now: Instant) -> bool {
        let Some(begun) = self.begun else {
            return false;
        };
        let is_done = self.looks.is_done_until(begun);
        if is_done {
            tracing::debug!(took = ?(now - begun), "all processes were looked at");
            self.begun = None;
        }
        is_done
    }

    /// When the next process is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.looks.due()
    }

    /// See [`Looks::overlooked`].
    pub(super) fn overlooked(&self) -> u64 {
        self.looks.overlooked()
    }
}

/// What a process with that name runs, by what was read of it at that kernel time (ns).
fn given(comm: [u8; 16], program: ProgramId, time: u64) -> Given {
    Given {
        comm,
        program,
        padding: 0,
        time,
    }
}

/// Starts telling the kernel half, if it can be told.
pub(super) fn start(kernel: &mut Kernel) -> Option<Teller> {
    let teller = Teller::start(kernel);
    let teller = teller.inspect_err(|error| {
        tracing::warn!("programs of one name in one cgroup are one service: {error:#}");
    });
    teller.ok()
}

/// Resolves when a process is due.
pub(super) async fn due(agent_due: Option<Instant>) {
    match agent_due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

impl Agent {
    /// Looks at processes that are due, and tells the kernel half what they run.
    pub(super) fn discover(&mut self) {
        if let Some(teller) = &mut self.teller {
            teller.hear();
        }
        self.drain_some();
        let (resolver, discovery) = self.workloads.parts();
        discovery.look(resolver);
        self.tell();
    }

    /// Looks again at a few of all processes.
    pub(super) fn audit(&mut self) {
        let (resolver, discovery) = self.workloads.parts();
        discovery.look_again(resolver, |id| self.retirement.listed(id));
        self.tell();
    }

    /// Tells the kernel half what was found.
    pub(super) fn tell(&mut self) {
        let (_, discovery) = self.workloads.parts();
        let bound = std::mem::take(&mut discovery.bound);
        let given = std::mem::take(&mut discovery.given);
        let Some(teller) = &mut self.teller else {
            return;
        };
        for (workload, program) in bound {
            let bound = self.retirement.bind(&mut self.kernel, workload, program);
            if let Err(error) = bound {
                tracing::warn!("a workload can't be made that of a program: {error:#}");
            }
        }
        if !given.is_empty()
            && let Err(error) = teller.tell(&given)
        {
            tracing::warn!("processes keep the service's name of others by their name: {error:#}");
        }
    }
}
