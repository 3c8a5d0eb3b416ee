//! The maps by which the kernel half walks user stacks, see
//! `observer_common::unwind`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail};
use aya::maps::{HashMap, Map, MapData, RingBuf};
use observer_common::cpython::{INTERPRETERS, Layout};
use observer_common::names::maps;
use observer_common::unwind::{CHUNK_WORDS, Chunk, MAPPINGS, Mapping, Process, Request, TABLES};

use super::Kernel;
use super::batch;
use super::mapped::Mapped;
use super::object::{Bytes, array_fd};
use super::ring;

/// What the kernel half knows of processes, and what it asks for.
pub struct ProcessMaps {
    processes: HashMap<MapData, u32, Bytes<Process>>,
    /// The mappings of all processes.
    pub mappings: Mapped<Mapping>,
    /// The Python interpreters of all processes.
    pub cpython: Mapped<Layout>,
    requests: RingBuf<MapData>,
}

/// The tables.
pub struct TableMaps {
    tables: MapData,
    /// When each was last used: units of 2^30 ns. The kernel pads values to 8
    /// bytes.
    used: Mapped<[u32; 2]>,
}

/// Takes the maps out of the kernel object.
///
/// # Errors
/// When a map is missing or can't be mapped.
pub fn take(kernel: &mut Kernel) -> Result<(ProcessMaps, TableMaps)> {
    let processes = HashMap::try_from(kernel.take_map(maps::PROCESSES)?)?;
    let mappings = kernel.take_map(maps::MAPPING_LIST)?;
    let mappings = Mapped::map(array_fd(&mappings)?, MAPPINGS as usize)?;
    let cpython = kernel.take_map(maps::CPYTHON_LAYOUTS)?;
    let cpython = Mapped::map(array_fd(&cpython)?, INTERPRETERS as usize)?;
    let requests = RingBuf::try_from(kernel.take_map(maps::UNWIND_REQUESTS)?)?;
    let used = kernel.take_map(maps::TABLE_USED)?;
    let used = Mapped::map(array_fd(&used)?, TABLES as usize)?;
    let tables = match kernel.take_map(maps::TABLES)? {
        Map::ArrayOfMaps(data) => data,
        _ => bail!("TABLES is not an array of maps"),
    };
    Ok((
        ProcessMaps {
            processes,
            mappings,
            cpython,
            requests,
        },
        TableMaps { tables, used },
    ))
}

impl ProcessMaps {
    /// Makes a process's mappings known.
    ///
    /// # Errors
    /// What `bpf(2)` says: `E2BIG` when there are too many processes.
    pub fn insert(&mut self, pid: u32, process: Process) -> Result<()> {
        self.processes
            .insert(pid, Bytes(process), 0)
            .with_context(|| format!("cannot hand over the mappings of process {pid}"))
    }

    /// Forgets a process.
    pub fn remove(&mut self, pid: u32) {
        // The kernel half forgets processes that end by itself.
        let _ = self.processes.remove(&pid);
    }

    /// The next request of the kernel half.
    pub fn request(&mut self) -> Option<Request> {
        loop {
            let record = self.requests.next()?;
            if let Some(request) = ring::record(&record) {
                return Some(request);
            }
        }
    }
}

impl AsFd for ProcessMaps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring's descriptor lives as long as the ring.
        unsafe { BorrowedFd::borrow_raw(self.requests.as_raw_fd()) }
    }
}

/// A table in the kernel, not published yet.
#[derive(Debug)]
pub struct KernelTable {
    fd: OwnedFd,
}

/// `BPF_MAP_CREATE` and `BPF_MAP_DELETE_ELEM` of `enum bpf_cmd`.
const MAP_CREATE: libc::c_long = 0;
const MAP_DELETE_ELEM: libc::c_long = 3;
/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;
/// `BPF_F_INNER_MAP`: arrays of different lengths may share an outer map.
const INNER_MAP: u32 = 1 << 12;

/// The part of `union bpf_attr` for `BPF_MAP_CREATE` (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
    padding: u32,
}

/// The part of `union bpf_attr` for single elements.
#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl KernelTable {
    /// Copies a table's words (a multiple of [`CHUNK_WORDS`]) to the kernel.
    ///
    /// # Errors
    /// What `bpf(2)` says.
    pub fn create(words: &[u32]) -> io::Result<Self> {
        let chunks = (words.len() / CHUNK_WORDS) as u32;
        let attributes = Create {
            map_type: ARRAY,
            key_size: size_of::<u32>() as u32,
            value_size: size_of::<Chunk>() as u32,
            max_entries: chunks.max(1),
            map_flags: INNER_MAP,
            map_name: *b"observer_table\0\0",
            ..Create::default()
        };
        // SAFETY: a live structure of the size that is said.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                MAP_CREATE,
                &raw const attributes,
                size_of::<Create>(),
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just returned this descriptor; nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        let keys: Vec<u32> = (0..chunks).collect();
        let chunks: &[Chunk] = words.as_chunks().0;
        batch::update(fd.as_fd(), &keys, chunks)?;
        Ok(Self { fd })
    }
}

impl TableMaps {
    /// Publishes tables under their numbers. Blocks until no program can be
    /// using what was there before.
    ///
    /// # Errors
    /// What `bpf(2)` says.
    pub fn publish(&mut self, tables: &[(u32, KernelTable)]) -> io::Result<()> {
        let ids: Vec<u32> = tables.iter().map(|(id, _)| *id).collect();
        let fds: Vec<u32> = tables
            .iter()
            .map(|(_, table)| table.fd.as_raw_fd() as u32)
            .collect();
        batch::update(self.tables.fd().as_fd(), &ids, &fds)
    }

    /// Takes a table away.
    ///
    /// # Errors
    /// What `bpf(2)` says.
    pub fn remove(&mut self, id: u32) -> io::Result<()> {
        let attributes = Element {
            map_fd: self.tables.fd().as_fd().as_raw_fd() as u32,
            padding: 0,
            key: &raw const id as u64,
            value: 0,
            flags: 0,
        };
        // SAFETY: a live structure of the size that is said; the key lives
        // longer than the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                MAP_DELETE_ELEM,
                &raw const attributes,
                size_of::<Element>(),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// When a table was last used, in units of 2^30 ns of CLOCK_MONOTONIC.
    pub fn last_used(&self, id: u32) -> u32 {
        let value = self.used.get(id as usize).unwrap_or_default();
        value[0]
    }
}
