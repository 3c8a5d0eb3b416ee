//! Loading the kernel object: its maps are made and filled, nothing is attached.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use anyhow::{Context, Result, bail};
use aya::maps::{Array, HashMap as BpfHashMap, Map, Queue, Stack};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel};
use observer_common::cpu;
use observer_common::names::maps;
use observer_common::ring::{self, SharedRing};
use observer_common::tally::RESERVED_CELLS;
use observer_common::workload::ids;

use super::attach::unfit;
use super::optional::OPTIONAL;
use super::options::{Filters, LoadOptions};
use super::settings::Settings;
use super::settle::settle;
use super::{Bytes, Kernel};
use crate::kernel::btf::KernelBtf;
use crate::kernel::preemption::Preemption;
use crate::kernel::{features, namespaces, release};
use crate::memory;

/// The committed kernel object.
pub(in crate::kernel) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(env!("OBSERVER_BPF_OBJECT"));

/// The families' ring buffers whose size is the user's choice. (That of stacks
/// isn't: the kernel half knows it.)
const RINGS: [&str; 2] = [maps::TCP_RING, maps::BLOCK_RING];

/// Sockets that can be followed at once where they are found from descriptors.
const ADDRESSES: u32 = 65_536;

/// Sessions and sockets of TLS, which take megabytes.
const TLS_MAPS: [&str; 2] = [maps::TLS_SESSIONS, maps::TLS_SOCKETS];

/// Bytes of the ring buffer of a family that is off: a page.
const UNUSED_RING: u32 = 4096;

/// Words of the shares of a ring, and of a table of samples.
const RING_WORDS: usize = ring::shares::WORDS as usize;
const SAMPLE_WORDS: usize = cpu::shares::WORDS as usize;

/// Words of which one has this value, and all others are zero.
fn words<const WORDS: usize>(at: u32, value: u32) -> [u64; WORDS] {
    std::array::from_fn(|word| match word == at as usize {
        true => value.into(),
        false => 0,
    })
}

/// This process as the kernel half sees it; 0 where its own namespace calls it
/// otherwise.
fn own_tgid() -> u32 {
    if namespaces::in_initial_pid() {
        std::process::id()
    } else {
        0
    }
}

impl Kernel {
    /// Loads the kernel object: maps are made, nothing is attached yet.
    ///
    /// # Errors
    ///
    /// Without BTF, without privileges, or when a map can't be made.
    pub fn load(options: &LoadOptions) -> Result<Self> {
        let types = match &options.btf {
            Some(path) => KernelBtf::read(path)?,
            None => KernelBtf::load()?,
        };
        features::ensure(&types)?;
        let preemption = Preemption::of_kernel(&types);
        let own_tgid = own_tgid();
        let settings = Settings::new(options, &types, &preemption, own_tgid);
        let misfits = types.misfits();
        for optional in OPTIONAL {
            let missing = optional.missing(&settings.offsets).into_iter();
            if let Some(error) = unfit(missing, &misfits) {
                let (part, lost) = (optional.part, optional.lost);
                tracing::warn!(probe = %part, "{error}; lost without it: {lost}");
            }
        }
        // Called `req_opf` until 6.0.
        let block_operations = ["req_op", "req_opf"]
            .iter()
            .flat_map(|name| types.enumerators(name))
            .collect();
        let drop_reasons = types.enumerators("skb_drop_reason");
        let btf = types.hooks()?;
        drop(types);
        memory::give_back();
        let object = settle(OBJECT, &preemption)?;
        let ebpf = load_object(&object, options, &settings, &btf).with_context(|| {
            release::too_old().unwrap_or("cannot load the kernel object".into())
        })?;
        let mut kernel = Self {
            ebpf,
            btf: Some(btf),
            by_descriptor: settings.by_descriptor(),
            preemption,
            offsets: settings.offsets,
            misfits,
            own_tgid,
            block_operations,
            drop_reasons,
            states: Vec::new(),
            links: HashMap::new(),
        };
        kernel.fill_free_lists(options)?;
        kernel.fill_filters(&options.filters)?;
        Ok(kernel)
    }

    fn fill_free_lists(&mut self, options: &LoadOptions) -> Result<()> {
        let reserved = RESERVED_CELLS;
        for (free, reserve, cells) in [
            (
                maps::HISTOGRAM_FREE,
                maps::HISTOGRAM_RESERVE,
                options.histogram_cells,
            ),
            (
                maps::COUNTER_FREE,
                maps::COUNTER_RESERVE,
                options.counter_cells,
            ),
        ] {
            if cells <= reserved {
                bail!(
                    "{cells} cells are too few: at least {} are needed",
                    reserved + 1
                );
            }
            self.fill_stack(free, 0..cells - reserved)?;
            self.fill_queue(reserve, cells - reserved..cells)?;
        }
        let mut words: Array<_, u64> = Array::try_from(self.map_mut(maps::WORKLOAD_IDS)?)?;
        // One is `other`, which is in no table. The seed is of the system's random
        // numbers.
        let limit = u64::from(options.workloads.saturating_sub(1));
        let seed = RandomState::new().hash_one(limit);
        let cells = |all: u32| u64::from(all - RESERVED_CELLS);
        for (word, value) in [
            (ids::LIMIT, limit),
            (ids::SEED, seed),
            (ids::HISTOGRAM_LIMIT, cells(options.histogram_cells)),
            (ids::COUNTER_LIMIT, cells(options.counter_cells)),
        ] {
            words
                .set(word, value, 0)
                .with_context(|| format!("cannot fill the map {}", maps::WORKLOAD_IDS))?;
        }
        self.fill_shares(options.sample_entries)
    }

    /// Tells the kernel half how large rings and tables of samples are, of which tenants have
    /// shares.
    fn fill_shares(&mut self, samples: u32) -> Result<()> {
        let mut sizes = Vec::new();
        for ring in SharedRing::ALL {
            if let Map::RingBuf(data) = self.map_mut(ring.map())? {
                sizes.push((*ring as u32, data.info()?.max_entries()));
            }
        }
        let mut rings: Array<_, [u64; RING_WORDS]> =
            Array::try_from(self.map_mut(maps::RING_SHARES)?)?;
        for (ring, size) in sizes {
            let words = words(ring::shares::SIZE, size);
            rings
                .set(ring, words, 0)
                .context("cannot fill the map of the rings' shares")?;
        }
        let mut tables: Array<_, [u64; SAMPLE_WORDS]> =
            Array::try_from(self.map_mut(maps::SAMPLE_SHARES)?)?;
        for table in [0, 1] {
            let words = words(cpu::shares::LIMIT, samples);
            tables
                .set(table, words, 0)
                .context("cannot fill the map of the samples' shares")?;
        }
        Ok(())
    }

    /// Fills a stack so that its lowest value comes first.
    fn fill_stack(&mut self, name: &'static str, values: std::ops::Range<u32>) -> Result<()> {
        let mut stack: Stack<_, u32> = Stack::try_from(self.map_mut(name)?)?;
        for value in values.rev() {
            stack
                .push(value, 0)
                .with_context(|| format!("cannot fill the map {name}"))?;
        }
        Ok(())
    }

    fn fill_queue(&mut self, name: &'static str, values: std::ops::Range<u32>) -> Result<()> {
        let mut queue: Queue<_, u32> = Queue::try_from(self.map_mut(name)?)?;
        for value in values {
            queue
                .push(value, 0)
                .with_context(|| format!("cannot fill the map {name}"))?;
        }
        Ok(())
    }

    fn fill_filters(&mut self, filters: &Filters) -> Result<()> {
        let mut pids: BpfHashMap<_, u32, u32> =
            BpfHashMap::try_from(self.map_mut(maps::FILTER_PIDS)?)?;
        for pid in &filters.pids {
            pids.insert(pid, u32::from(filters.with_children), 0)
                .context("too many --pid")?;
        }
        let mut comms: BpfHashMap<_, [u8; 16], u32> =
            BpfHashMap::try_from(self.map_mut(maps::FILTER_COMMS)?)?;
        for comm in &filters.comms {
            // The kernel keeps 15 bytes and a NUL (TASK_COMM_LEN).
            let mut key = [0; 16];
            for (to, from) in key[..15].iter_mut().zip(comm.bytes()) {
                *to = from;
            }
            comms.insert(key, 1, 0).context("too many --comm")?;
        }
        let mut cgroups: BpfHashMap<_, u64, u32> =
            BpfHashMap::try_from(self.map_mut(maps::FILTER_CGROUPS)?)?;
        for cgroup in &filters.cgroups {
            cgroups.insert(cgroup, 1, 0).context("too many --cgroup")?;
        }
        Ok(())
    }
}

/// Makes the maps, each as large as it has to be.
fn load_object(
    object: &[u8],
    options: &LoadOptions,
    settings: &Settings,
    btf: &Btf,
) -> Result<Ebpf> {
    let (offsets, config) = (Bytes(settings.offsets), Bytes(settings.config));
    let mut loader = EbpfLoader::new();
    if let Some(bytes) = options.ring_bytes {
        for ring in RINGS {
            loader.map_max_entries(ring, bytes);
        }
    }
    // A family that is off needs no room.
    let request_ring = match &options.requests {
        Some(requests) => requests.ring_bytes,
        None => UNUSED_RING,
    };
    loader.map_max_entries(maps::REQUEST_RING, request_ring);
    if options.requests.is_none() {
        for map in TLS_MAPS {
            loader.map_max_entries(map, 1);
        }
    }
    if settings.by_descriptor() {
        loader.map_max_entries(maps::REQUEST_ADDRESSES, ADDRESSES);
    }
    Ok(loader
        .btf(Some(btf))
        .allow_unsupported_maps()
        .verifier_log_level(log_level())
        .override_global(maps::OFFSETS, &offsets, true)
        .override_global(maps::CONFIG, &config, true)
        .map_max_entries(maps::WORKLOADS, options.workloads)
        .map_max_entries(maps::HISTOGRAMS, options.histogram_cells)
        .map_max_entries(maps::HISTOGRAM_INDEX, options.histogram_cells)
        .map_max_entries(maps::HISTOGRAM_FREE, options.histogram_cells)
        .map_max_entries(maps::SAMPLES_0, options.sample_entries)
        .map_max_entries(maps::SAMPLES_1, options.sample_entries)
        .map_max_entries(maps::COUNTERS, options.counter_cells)
        .map_max_entries(maps::COUNTER_INDEX, options.counter_cells)
        .map_max_entries(maps::COUNTER_FREE, options.counter_cells)
        .load(object)?)
}

/// What the verifier writes of a program that it refuses. aya asks it without a
/// log first, then with ten times as much room for it each time until all of it
/// fits: its reason alone fits the first time, so a program is verified twice at
/// most. Whoever debugs wants the whole log and waits for it.
fn log_level() -> VerifierLogLevel {
    if tracing::enabled!(tracing::Level::DEBUG) {
        VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
    } else {
        VerifierLogLevel::STATS
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
    use observer_common::names::programs;

    use super::*;

    /// Checks that the object has exactly the programs, and all of the maps and
    /// globals, that the daemon has names for.
    #[test]
    fn names_are_the_objects() {
        let file = object::File::parse(OBJECT).expect("the committed object");
        let mut functions = BTreeSet::new();
        let mut data = BTreeSet::new();
        for symbol in file.symbols() {
            let (Ok(name), Some(section)) = (symbol.name(), symbol.section_index()) else {
                continue;
            };
            let section = file.section_by_index(section).expect("its section");
            match symbol.kind() {
                // Functions that programs share are in `.text`.
                SymbolKind::Text if section.name() != Ok(".text") => functions.insert(name),
                SymbolKind::Data => data.insert(name),
                _ => false,
            };
        }
        let named: BTreeSet<&str> = programs::ALL.iter().copied().collect();
        assert_eq!(functions, named);
        for name in maps::ALL {
            assert!(data.contains(name), "{name} is no map or global: {data:?}");
        }
    }
}
