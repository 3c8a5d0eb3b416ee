//! Telling the kernel half what processes run, where their names don't say it.

use std::os::fd::OwnedFd;

use anyhow::Result;
use aya::maps::{HashMap as BpfHashMap, MapData};
use observer_common::names::{maps, programs};
use observer_common::workload::{Entry, GIVEN, Given, ProgramId, WorkloadId, WorkloadKey};

use super::Kernel;
use super::iter::{self, Iterator};
use super::object::Bytes;
use super::removal::was_there;
use super::workload_ids::{Listed, WorkloadIds};

/// Of more processes at once, all threads of the host are looked at.
const FEW: usize = 8;

/// Tells threads of their programs.
pub struct Teller {
    programs: BpfHashMap<MapData, u32, Bytes<Given>>,
    all: Iterator,
    /// The program, where the kernel can aim it at one process (6.1).
    one: Option<OwnedFd>,
    /// Has sockets follow their process; of one, and of all. None without the family.
    sockets: Vec<(OwnedFd, Iterator)>,
    ids: WorkloadIds,
}

impl Teller {
    /// Nobody is told of anything yet.
    ///
    /// # Errors
    /// The kernel half lacks a map or the program.
    pub fn start(kernel: &mut Kernel) -> Result<Self> {
        let all = Iterator::new(kernel, programs::IDENTITY_PROGRAM, None)?;
        Ok(Self {
            programs: BpfHashMap::try_from(kernel.take_map(maps::PROGRAMS)?)?,
            all,
            one: Some(iter::program(kernel, programs::IDENTITY_PROGRAM)?),
            sockets: sockets(kernel),
            ids: WorkloadIds::map(kernel)?,
        })
    }

    /// From now on announcements of processes are new ones.
    pub fn hear(&mut self) {
        self.ids.hear();
    }

    /// Tells the threads of processes what they run: each is charged accordingly from
    /// now on.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn tell(&mut self, given: &[(u32, Given)]) -> Result<()> {
        for some in given.chunks(GIVEN as usize) {
            let told = self.tell_some(some);
            // Whatever came of it, who has such an id next isn't told so.
            for (process, _) in some {
                was_there(self.programs.remove(process))?;
            }
            self.ids.changed();
            told?;
        }
        Ok(())
    }

    fn tell_some(&mut self, given: &[(u32, Given)]) -> Result<()> {
        for (process, given) in given {
            self.programs.insert(process, Bytes(*given), 0)?;
        }
        self.run(given)?;
        self.move_sockets(given)
    }

    /// Has the sockets of processes follow them.
    fn move_sockets(&self, given: &[(u32, Given)]) -> Result<()> {
        for (one, all) in &self.sockets {
            if self.one.is_none() || given.len() > FEW {
                all.run(|_| {})?;
                continue;
            }
            let mut processes = given.iter().map(|(process, _)| *process);
            processes.try_for_each(|process| iter::run_on_process(one, process))?;
        }
        Ok(())
    }

    fn run(&mut self, given: &[(u32, Given)]) -> Result<()> {
        if let Some(program) = &self.one
            && given.len() <= FEW
        {
            let mut told = given
                .iter()
                .map(|(process, _)| iter::run_on_process(program, *process));
            match told.find_map(Result::err) {
                None => return Ok(()),
                Some(error) => {
                    tracing::debug!(
                        "all threads are looked at instead of one process's: {error:#}"
                    );
                    self.one = None;
                }
            }
        }
        self.all.run(|_| {})
    }
}

/// The programs by which sockets follow their processes: those that are there.
fn sockets(kernel: &mut Kernel) -> Vec<(OwnedFd, Iterator)> {
    let mut of = |name| {
        let one = iter::program(kernel, name).ok()?;
        let all = Iterator::new(kernel, name, None).ok()?;
        Some((one, all))
    };
    let all = [programs::TCP_MOVED, programs::NET_HOLDERS];
    all.into_iter().filter_map(&mut of).collect()
}

impl Kernel {
    /// Makes a workload that of a program: who is of its name in its cgroups from now on,
    /// and isn't known to run that program, is another one. If there is one of this
    /// program already, this one is taken out of the table instead, and returned.
    ///
    /// # Errors
    /// The kernel refuses to change the table.
    pub fn rebind_workload(
        &mut self,
        key: &WorkloadKey,
        id: WorkloadId,
        program: ProgramId,
        ids: &WorkloadIds,
    ) -> Result<Option<Listed>> {
        let mut map: BpfHashMap<_, Bytes<WorkloadKey>, Bytes<Entry>> =
            BpfHashMap::try_from(self.map_mut(maps::WORKLOADS)?)?;
        let entry = map.get(&Bytes(*key), 0).map(|entry| entry.0);
        // Else it is over, or was made a program's before.
        let entry = entry.ok().filter(|entry| entry.workload.id == id);
        let Some(mut entry) = entry else {
            return Ok(None);
        };
        let its = key.with_program(program);
        let is_first = map.get(&Bytes(its), 0).is_err();
        if is_first {
            entry.mark = its.mark();
            map.insert(Bytes(its), Bytes(entry), 0)?;
        }
        map.remove(&Bytes(*key))?;
        if is_first {
            return Ok(None);
        }
        ids.retired(entry.tenant);
        Ok(Some(Listed {
            key: *key,
            id,
            tenant: entry.tenant,
        }))
    }
}
