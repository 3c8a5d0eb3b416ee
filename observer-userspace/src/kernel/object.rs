//! The loaded kernel half: its maps, its programs, and what became of them.

mod attach;
mod attach_error;
mod load;
mod machine;
pub mod optional;
pub mod options;
mod settings;
mod settle;
pub mod spec;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, anyhow, bail};
use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::Program;
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::{Btf, Ebpf, Pod};
use observer_common::loss::{Loss, MadeUp};
use observer_common::names::maps;
use observer_common::offsets::Offsets;
use observer_common::plain::Plain;

use crate::kernel::btf::Misfit;
use crate::kernel::preemption::Preemption;
use crate::memory;
use spec::{ProbeSpec, ProbeState};

pub use attach::{lacking, unfit};
pub use attach_error::AttachError;
#[cfg(test)]
pub(in crate::kernel) use load::OBJECT;

/// A key or value of a map, or a global, as aya takes and gives them.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Bytes<T: Plain>(pub T);

// SAFETY: a plain value has no padding and no pointer, and whatever bits are
// read are one.
unsafe impl<T: Plain> Pod for Bytes<T> {}

/// The loaded kernel half.
pub struct Kernel {
    ebpf: Ebpf,
    /// Needed as long as programs are attached; see [`Kernel::forget_types`].
    btf: Option<Btf>,
    offsets: Offsets,
    /// Fields that are too small to be read.
    misfits: Vec<Misfit>,
    /// See [`Kernel::own_tgid`].
    own_tgid: u32,
    by_descriptor: bool,
    preemption: Preemption,
    /// See [`Kernel::block_operations`].
    block_operations: Vec<(String, u32)>,
    /// See [`Kernel::drop_reasons`].
    drop_reasons: Vec<(String, u32)>,
    states: Vec<ProbeState>,
    /// Of programs on tracepoints that are attached.
    links: HashMap<&'static str, BtfTracePointLinkId>,
}

impl Kernel {
    /// Whether this program was accepted: it is attached, or loaded where its
    /// probe attaches it.
    pub fn has(&self, program: &str) -> bool {
        let mut states = self.states.iter();
        states.any(|state| state.program.name == program && state.failure.is_none())
    }

    /// Whether anything of what the probe observes can be seen.
    pub fn sees(&self, probe: &ProbeSpec) -> bool {
        let mut states = self.states.iter();
        states.any(|state| state.failure.is_none() && probe.is_seen_by(state.program.name))
    }

    /// Whether sockets are found by their descriptors, at the end of a call.
    pub fn finds_sockets_by_descriptor(&self) -> bool {
        self.by_descriptor
    }

    /// This process as the kernel half sees it; 0 where its own namespace calls it
    /// otherwise.
    pub fn own_tgid(&self) -> u32 {
        self.own_tgid
    }

    /// Whether this program on a tracepoint is attached.
    pub fn is_attached(&self, program: &str) -> bool {
        self.links.contains_key(program)
    }

    /// Frees the memory of the kernel's types: nothing new can be attached after.
    pub fn forget_types(&mut self) {
        self.btf = None;
        memory::give_back();
    }

    /// What became of every program that was to be attached.
    pub fn states(&self) -> &[ProbeState] {
        &self.states
    }

    /// The offsets that were found.
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// This kernel's reasons to drop a packet: `SKB_DROP_REASON_*` with its number. None
    /// where it has none (before 5.17).
    pub fn drop_reasons(&self) -> &[(String, u32)] {
        &self.drop_reasons
    }

    /// This kernel's block operations: `REQ_OP_*` with its number. Those of
    /// zones have had several.
    pub fn block_operations(&self) -> &[(String, u32)] {
        &self.block_operations
    }

    /// A map of the kernel object.
    ///
    /// # Errors
    /// There is none of that name: it belongs to what wasn't loaded, or is taken.
    pub fn map_mut(&mut self, name: &'static str) -> Result<&mut Map> {
        self.ebpf
            .map_mut(name)
            .ok_or_else(|| anyhow!("the kernel object has no map {name}"))
    }

    /// Takes a map out of the kernel object, for somebody to own.
    ///
    /// # Errors
    /// There is none of that name: it belongs to what wasn't loaded, or is taken.
    pub fn take_map(&mut self, name: &'static str) -> Result<Map> {
        self.ebpf
            .take_map(name)
            .ok_or_else(|| anyhow!("the kernel object has no map {name} (left)"))
    }

    /// A program of the kernel object.
    pub fn program_mut(&mut self, name: &str) -> Option<&mut Program> {
        self.ebpf.program_mut(name)
    }

    /// All loaded programs by name.
    pub fn programs(&self) -> impl Iterator<Item = (&str, &Program)> {
        self.ebpf.programs()
    }

    /// All maps by name.
    pub fn maps(&self) -> impl Iterator<Item = (&str, &Map)> {
        self.ebpf.maps()
    }

    /// For aya-log, which finds its own map.
    pub fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// What the kernel half lost since the start, by cause.
    ///
    /// # Errors
    /// The kernel refuses to read the counters.
    pub fn losses(&self) -> Result<Vec<(Loss, u64)>> {
        let counters = self.loss_counters()?;
        let losses = Loss::ALL.iter();
        losses
            .map(|cause| Ok((*cause, of_all_cpus(&counters, *cause as u32)?)))
            .collect()
    }

    /// How many events of this kind were seen at the second look only.
    ///
    /// # Errors
    /// The kernel refuses to read the counters.
    pub fn made_up(&self, event: MadeUp) -> Result<u64> {
        of_all_cpus(&self.loss_counters()?, event as u32)
    }

    fn loss_counters(&self) -> Result<PerCpuArray<&MapData, u64>> {
        let map = self.ebpf.map(maps::LOSS);
        let map = map.context("the kernel object has no map LOSS")?;
        Ok(PerCpuArray::try_from(map)?)
    }
}

fn of_all_cpus(counters: &PerCpuArray<&MapData, u64>, counter: u32) -> Result<u64> {
    let values = counters
        .get(&counter, 0)
        .context("cannot read the map LOSS")?;
    Ok(values.iter().sum())
}

/// The descriptor of a map that is an array.
///
/// # Errors
/// It is of another kind.
pub fn array_fd(map: &Map) -> Result<BorrowedFd<'_>> {
    match map {
        Map::Array(data) => Ok(fd(data)),
        _ => bail!("not an array map"),
    }
}

fn fd(data: &MapData) -> BorrowedFd<'_> {
    data.fd().as_fd()
}
