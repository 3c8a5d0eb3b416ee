//! Reading, emptying and filling BPF maps with few system calls (`BPF_MAP_*_BATCH`, since
//! Linux 5.6), which aya doesn't offer.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use observer_common::plain::{Plain, zeroed};

/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd`.
const LOOKUP_BATCH: libc::c_long = 24;
/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH`.
const LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;
/// `BPF_MAP_UPDATE_BATCH`.
const UPDATE_BATCH: libc::c_long = 26;
/// `BPF_MAP_DELETE_BATCH`.
const DELETE_BATCH: libc::c_long = 27;
/// Entries per call at first; grows when a bucket of the hash has more.
const CHUNK: usize = 512;

/// The part of `union bpf_attr` called `batch` (linux/bpf.h).
#[repr(C)]
#[derive(Debug, Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Makes the system call.
///
/// # Safety
/// What the batch points to must be live, and as large as it says.
unsafe fn call(command: libc::c_long, batch: &mut Batch) -> io::Result<()> {
    let batch = &raw mut *batch;
    // SAFETY: the caller's promise; the batch is as long as it is said to be.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, batch, size_of::<Batch>()) };
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes all entries out of the hash `map` (not a per-CPU one) whose keys are
/// `K` and values `V`, and hands each to `each`.
///
/// # Errors
/// What `bpf(2)` says; entries handed over until then are out of the map.
pub fn take_all<K: Plain, V: Plain>(map: BorrowedFd<'_>, each: impl FnMut(K, V)) -> io::Result<()> {
    all(LOOKUP_AND_DELETE_BATCH, map, each)
}

/// The same, and leaves them there. An entry that comes or goes meanwhile may be among
/// them or not.
///
/// # Errors
/// What `bpf(2)` says.
pub fn read_all<K: Plain, V: Plain>(map: BorrowedFd<'_>, each: impl FnMut(K, V)) -> io::Result<()> {
    all(LOOKUP_BATCH, map, each)
}

fn all<K: Plain, V: Plain>(
    command: libc::c_long,
    map: BorrowedFd<'_>,
    mut each: impl FnMut(K, V),
) -> io::Result<()> {
    let mut keys = vec![zeroed::<K>(); CHUNK];
    let mut values = vec![zeroed::<V>(); CHUNK];
    // For hashes a position is a bucket's number.
    let mut position = None::<u32>;
    loop {
        let mut next = 0_u32;
        let mut batch = Batch {
            in_batch: position.as_ref().map_or(0, |p| &raw const *p as u64),
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: keys.len() as u32,
            map_fd: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        // SAFETY: all pointers are to live memory with room for `count` entries
        // of the map's key and value sizes, which the caller's types have.
        // Whatever the kernel puts there are values of plain types.
        let error = unsafe { call(command, &mut batch) }.err();
        let code = error.as_ref().and_then(io::Error::raw_os_error);
        if code == Some(libc::ENOSPC) {
            // One bucket holds more than fits; nothing of it was taken.
            let larger = keys.len() * 2;
            keys.resize(larger, zeroed::<K>());
            values.resize(larger, zeroed::<V>());
            continue;
        }
        if let Some(error) = error.filter(|_| code != Some(libc::ENOENT)) {
            return Err(error);
        }
        let count = (batch.count as usize).min(keys.len());
        for (key, value) in keys.iter().zip(&values).take(count) {
            each(*key, *value);
        }
        if code == Some(libc::ENOENT) {
            return Ok(()); // that was the end
        }
        position = Some(next);
    }
}

/// Takes those of `keys` that are in it out of `map`.
///
/// # Errors
/// What `bpf(2)` says; some may be out of it then.
pub fn delete<K: Plain>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    let mut done = 0;
    while let Some(keys @ [_, ..]) = keys.get(done..) {
        let mut batch = Batch {
            keys: keys.as_ptr() as u64,
            count: keys.len() as u32,
            map_fd: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        // SAFETY: the pointer is to `count` live keys of the map's size, which the caller's
        // type has.
        let result = unsafe { call(DELETE_BATCH, &mut batch) };
        done += batch.count as usize;
        match result {
            // The next one isn't there.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => done += 1,
            other => other?,
        }
    }
    Ok(())
}

/// Sets `keys` to `values` in `map`, whose keys are `K` and values `V`.
///
/// # Errors
/// What `bpf(2)` says; some may be set then.
pub fn update<K: Plain, V: Plain>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    let mut done = 0;
    let length = keys.len().min(values.len());
    while let (Some(keys @ [_, ..]), Some(values)) =
        (keys.get(done..length), values.get(done..length))
    {
        let mut batch = Batch {
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: keys.len() as u32,
            map_fd: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        // SAFETY: both pointers are to `count` live entries of the map's key
        // and value sizes, which the caller's types have.
        unsafe { call(UPDATE_BATCH, &mut batch) }?;
        done += batch.count.max(1) as usize;
    }
    Ok(())
}
