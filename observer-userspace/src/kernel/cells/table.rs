//! One table of cells, mapped into our memory.

use std::num::NonZero;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use anyhow::{Context, Result};
use aya::maps::{HashMap as BpfHashMap, Stack};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use observer_common::plain::Plain;
use observer_common::tally::{CounterCell, HistogramCell, Key, RESERVED_CELLS};

use crate::kernel::Kernel;
use crate::kernel::object::{Bytes, array_fd};
use crate::kernel::removal::was_there;

/// Behind the highest cell that was ever seen in use, this many unused ones in a
/// row are the end. (Two contexts that race for a cell leave a hole.)
const END_AFTER: usize = 256;

/// A cell of a table.
///
/// # Safety
/// It begins with its [`Key`].
pub(super) unsafe trait Cell: Plain {}

// SAFETY: its first field, repr(C).
unsafe impl Cell for HistogramCell {}
// SAFETY: its first field, repr(C).
unsafe impl Cell for CounterCell {}

/// The maps of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) cells: &'static str,
    pub(super) index: &'static str,
    pub(super) free: &'static str,
}

/// A table, mapped.
pub(super) struct Table<T> {
    start: NonNull<T>,
    cells: usize,
    names: Names,
    /// One more than the highest cell that was in use, of those that are given
    /// back, and of the reserve.
    ends: [usize; 2],
    /// Cells that nobody finds any more, with the key that they had.
    leaving: Vec<(usize, Key)>,
}

impl<T: Cell> Table<T> {
    pub(super) fn map(kernel: &mut Kernel, names: Names, cells: usize) -> Result<Self> {
        let map = kernel.map_mut(names.cells)?;
        let length = NonZero::new(cells * size_of::<T>()).context("a table of no cells")?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                array_fd(map)?.as_fd(),
                0,
            )
        }
        .with_context(|| format!("cannot map the table {}", names.cells))?;
        Ok(Self {
            start: start.cast(),
            cells,
            names,
            ends: [0, cells.saturating_sub(RESERVED_CELLS as usize)],
            leaving: Vec::new(),
        })
    }

    /// Calls `each` for every cell in use, with where it is.
    fn for_each_used(&mut self, mut each: impl FnMut(usize, Key, *const T)) {
        let reserve = self.cells.saturating_sub(RESERVED_CELLS as usize);
        let parts = [0..reserve, reserve..self.cells];
        for (part, end) in parts.into_iter().zip(&mut self.ends) {
            let mut unused = 0;
            for index in part {
                // SAFETY: within the mapping; a cell begins with its key, whose
                // series the kernel half writes last.
                let (cell, key) = unsafe {
                    let cell = self.start.as_ptr().add(index);
                    (cell, cell.cast::<Key>().read_volatile())
                };
                if key.series != 0 {
                    unused = 0;
                    *end = (*end).max(index + 1);
                    each(index, key, cell);
                    continue;
                }
                unused += 1;
                if index >= *end && unused >= END_AFTER {
                    break;
                }
            }
        }
    }

    /// Calls `each` for every cell that counts, leaving ones included.
    pub(super) fn for_each(&mut self, mut each: impl FnMut(Key, *const T)) {
        self.for_each_used(|_, key, cell| each(key, cell));
        for (index, key) in &self.leaving {
            // SAFETY: within the mapping.
            each(*key, unsafe { self.start.as_ptr().add(*index) });
        }
    }

    /// Takes all cells whose key is one of `whose` away from the kernel half: it
    /// finds them no more, but may still be adding to one. `left` is told of each cell
    /// that stays in use.
    pub(super) fn take_away(
        &mut self,
        kernel: &mut Kernel,
        whose: impl Fn(Key) -> bool,
        mut left: impl FnMut(Key),
    ) -> Result<()> {
        let reserve = self.cells.saturating_sub(RESERVED_CELLS as usize);
        let mut taken = Vec::new();
        self.for_each_used(|index, key, _| match index < reserve && whose(key) {
            true => taken.push((index, key)),
            false => left(key),
        });
        if taken.is_empty() {
            return Ok(());
        }
        let mut map: BpfHashMap<_, Bytes<Key>, u32> =
            BpfHashMap::try_from(kernel.map_mut(self.names.index)?)?;
        for (index, key) in taken {
            was_there(map.remove(&Bytes(key)))
                .with_context(|| format!("cannot change the map {}", self.names.index))?;
            // After that, so that who still finds it by the index sees whose it is.
            // SAFETY: within the mapping; the kernel half writes a series only into
            // a cell that it took from the free ones.
            unsafe {
                let cell = self.start.as_ptr().add(index).cast::<Key>();
                (&raw mut (*cell).series).write_volatile(0);
            }
            self.leaving.push((index, key));
        }
        Ok(())
    }

    /// Gives the cells that were taken away to others, once no program can be
    /// adding to one any more; `each` is told what they held.
    pub(super) fn give_back(
        &mut self,
        kernel: &mut Kernel,
        mut each: impl FnMut(Key, *const T),
    ) -> Result<()> {
        if self.leaving.is_empty() {
            return Ok(());
        }
        let mut free: Stack<_, u32> = Stack::try_from(kernel.map_mut(self.names.free)?)?;
        while let Some((index, key)) = self.leaving.pop() {
            // SAFETY: within the mapping; nobody else uses it.
            let cell = unsafe { self.start.as_ptr().add(index) };
            each(key, cell);
            // SAFETY: as above; a cell of zeroes is one that nobody uses.
            unsafe { cell.write_bytes(0, 1) };
            free.push(index as u32, 0)
                .with_context(|| format!("cannot fill the map {}", self.names.free))?;
        }
        Ok(())
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length.
        let _ = unsafe { munmap(self.start.cast(), self.cells * size_of::<T>()) };
    }
}

// SAFETY: it owns its mapping, which any thread may use.
unsafe impl<T> Send for Table<T> {}
