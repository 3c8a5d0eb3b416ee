//! A BPF array that is mapped into our memory and written there.

use std::num::NonZero;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use observer_common::plain::Plain;

/// The array; `T` must be what the kernel half takes its values for.
#[derive(Debug)]
pub struct Mapped<T> {
    values: NonNull<T>,
    length: usize,
}

// SAFETY: owns its mapping, which any thread may use.
unsafe impl<T: Send> Send for Mapped<T> {}

impl<T: Plain> Mapped<T> {
    /// Maps the array behind `map` (made with `BPF_F_MMAPABLE`), of `length`
    /// values.
    ///
    /// # Errors
    /// What `mmap(2)` says.
    pub fn map(map: BorrowedFd<'_>, length: usize) -> Result<Self> {
        // The kernel rounds the size of a value up to 8 bytes.
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let bytes = NonZero::new(length * size_of::<T>()).context("an empty array")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let values = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, map, 0) }
            .context("cannot map a BPF array")?;
        Ok(Self {
            values: values.cast(),
            length,
        })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Reads a value; the kernel may be writing it.
    pub fn get(&self, index: usize) -> Option<T> {
        // SAFETY: inside the mapping; whatever bits are there are a plain value.
        (index < self.length).then(|| unsafe { self.values.add(index).read_volatile() })
    }

    /// Writes a value; the kernel may be reading it. False beyond the end.
    pub fn set(&mut self, index: usize, value: T) -> bool {
        if index >= self.length {
            return false;
        }
        // SAFETY: inside the mapping; a plain value has no bytes that aren't set.
        unsafe { self.values.add(index).write_volatile(value) };
        true
    }
}

impl Mapped<u64> {
    /// Adds to a value (or subtracts: it wraps), to which the kernel may be adding,
    /// too. False beyond the end.
    pub fn add(&self, index: usize, value: u64) -> bool {
        if index >= self.length {
            return false;
        }
        // SAFETY: inside the mapping, aligned as the kernel aligns values to 8
        // bytes; both sides change it atomically.
        let word = unsafe { AtomicU64::from_ptr(self.values.add(index).as_ptr()) };
        word.fetch_add(value, Ordering::Relaxed);
        true
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; no reference into it exists.
        // It only fails for addresses that aren't mapped.
        let _ = unsafe { munmap(self.values.cast(), self.length * size_of::<T>()) };
    }
}
