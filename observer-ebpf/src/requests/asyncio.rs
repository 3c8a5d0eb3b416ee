//! The task that a thread's asyncio loop runs when it sends something: a loop that
//! serves many requests does so in a task of its own for each.

use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::macros::btf_map;
use observer_common::requests::dictionary::{
    CLASS, ENTRIES_USED, ENTRY_WORDS, GENERAL, HEADER, INDEX_BYTES, KEYS, KIND,
};
use observer_common::requests::{ASYNCIO_LOOPS as MOST, AsyncioLoop, LOOPS};

use crate::slot::slot;
use crate::user::user;

/// From a thread to its loop.
#[btf_map]
static ASYNCIO_LOOPS: HashMap<u32, AsyncioLoop, { MOST as usize }> = HashMap::new();

/// [`LOOPS`], or nothing.
#[btf_map]
static ASYNCIO_ON: Array<u32, 1> = Array::new();

/// Entries that are looked through: the dictionary has one by running task, and up to
/// five of tasks that are done before it is made anew.
const ENTRIES: u64 = 16;
/// Bytes of an index, as a power of two: of a dictionary with so many entries.
const LARGEST_INDEX: u8 = 6;

/// Address of the task in which the current thread sends; 0 = none that is known.
#[inline(always)]
pub fn task() -> u64 {
    if ASYNCIO_ON.get(0).copied().unwrap_or(0) != LOOPS {
        return 0;
    }
    asyncio_task()
}

/// See [`task`].
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn asyncio_task() -> u64 {
    running().unwrap_or(0)
}

#[inline(always)]
fn running() -> Option<u64> {
    let slot = slot()?;
    // SAFETY: only read; a race with the daemon's removing it is found by the class.
    let known = unsafe { ASYNCIO_LOOPS.get(&slot.tid) }?;
    if known.tgid != slot.tgid {
        return None;
    }
    let keys: u64 = user(known.current_tasks.wrapping_add(KEYS))?;
    let header: [u8; HEADER] = user(keys)?;
    let index = header[INDEX_BYTES];
    if header[KIND] != GENERAL || index > LARGEST_INDEX {
        return None;
    }
    let mut used = [0; 8];
    used.copy_from_slice(&header[ENTRIES_USED..ENTRIES_USED + 8]);
    let used = u64::from_ne_bytes(used);
    let first = keys.wrapping_add(HEADER as u64 + (1 << index));
    let mut number = 0;
    while number < ENTRIES && number < used {
        let at = first.wrapping_add(number * (8 * ENTRY_WORDS as u64));
        let [_, key, task]: [u64; ENTRY_WORDS] = user(at)?;
        if key == known.event_loop && task != 0 {
            let class: u64 = user(task.wrapping_add(CLASS))?;
            return (class == known.class).then_some(task);
        }
        number += 1;
    }
    None
}
