//! The Python interpreters that the kernel half knows.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Instant;

use observer_common::cpython::{INTERPRETERS, Layout};
use observer_runtimes::cpython::Runtime;

use crate::kernel::mapped::Mapped;
use crate::stacks::cpython::find;
use crate::stacks::module::Module;
use crate::stacks::range_allocator::RangeAllocator;

/// Files of which is remembered that they were named in the log.
const MAX_SAID: usize = 256;

/// Which numbers have interpreters.
#[derive(Debug)]
pub(super) struct Interpreters {
    numbers: RangeAllocator,
    said: HashSet<Rc<str>>,
    /// Programs whose interpreter isn't one that is known.
    pub(super) unsupported: u64,
}

impl Interpreters {
    pub(super) fn new() -> Self {
        let mut numbers = RangeAllocator::new(INTERPRETERS);
        // 0 is none.
        let _ = numbers.allocate(1, Instant::now());
        Self {
            numbers,
            said: HashSet::new(),
            unsupported: 0,
        }
    }

    /// Looks whether a process has an interpreter in a file, which lies `bias` bytes above its
    /// own addresses in a list of mappings, and hands it over under the number that is
    /// returned.
    pub(super) fn find(
        &mut self,
        layouts: &mut Mapped<Layout>,
        (pid, list, path): (u32, u32, &Rc<str>),
        module: &Module,
        bias: u64,
    ) -> Option<(u32, Runtime)> {
        let symbols = find::symbols(module)?;
        let runtime = match find::runtime(pid, symbols, bias) {
            Ok(runtime) => runtime,
            Err(why) => {
                self.unsupported += 1;
                let is_said = self.said.contains(path) || self.said.len() >= MAX_SAID;
                if !is_said && find::say_why(pid, path, why) {
                    self.said.insert(path.clone());
                }
                return None;
            }
        };
        let number = self.numbers.allocate(1, Instant::now());
        let known = number.zip(find::layout(&runtime, list));
        let Some((number, layout)) = known else {
            self.unsupported += 1;
            self.free(number.unwrap_or(0));
            return None;
        };
        tracing::debug!("process {pid} runs {} ({path})", runtime.offsets.version);
        layouts.set(number as usize, layout);
        Some((number, runtime))
    }

    /// A number may be given to another.
    pub(super) fn free(&mut self, number: u32) {
        if number != 0 {
            self.numbers.free(number, 1, Instant::now());
        }
    }
}
