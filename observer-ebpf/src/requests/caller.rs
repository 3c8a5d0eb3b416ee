//! Who calls a function on which a program is.

use observer_common::slot::{Slot, ThreadState};

use super::is_on;
use crate::identity::here;
use crate::kernel::{self, current};
use crate::thread::thread;

/// The registers with which the current thread came here from its program.
#[inline(always)]
pub fn registers() -> *const u8 {
    // SAFETY: the current task is trusted.
    unsafe { kernel::registers(current()) }
}

/// The current thread, if it is traced.
#[inline(always)]
pub fn caller() -> Option<(&'static mut Slot, &'static mut ThreadState)> {
    if !is_on() {
        return None;
    }
    let slot = here()?;
    // SAFETY: the current task is trusted.
    let state = unsafe { thread(current(), false) };
    if state.is_null() {
        return None;
    }
    // SAFETY: not null, so a storage value.
    Some((slot, unsafe { &mut *state }))
}
