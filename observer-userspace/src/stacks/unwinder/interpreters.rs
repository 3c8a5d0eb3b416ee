//! The Python interpreters that the kernel half knows.

use std::collections::HashSet;
use std::io::PipeWriter;
use std::rc::Rc;
use std::time::Instant;

use observer_common::cpython::{INTERPRETERS, Layout};
use observer_runtimes::cpython::{Runtime, RuntimeSymbols};

use super::Unwinder;
use crate::kernel::mapped::Mapped;
use crate::stacks::cpython::{Search, find};
use crate::stacks::module::Module;
use crate::stacks::range_allocator::RangeAllocator;

/// Files of which is remembered that they were named in the log.
const MAX_SAID: usize = 256;

/// Which numbers have interpreters.
#[derive(Debug)]
pub(super) struct Interpreters {
    numbers: RangeAllocator,
    pub(super) search: Search,
    said: HashSet<Rc<str>>,
    /// Programs whose interpreter isn't one that is known.
    pub(super) unsupported: u64,
}

impl Interpreters {
    /// Knows none yet; `wake` is written to when a file was looked into.
    ///
    /// # Errors
    /// When the thread that does it can't be started.
    pub(super) fn start(wake: PipeWriter) -> anyhow::Result<Self> {
        let mut numbers = RangeAllocator::new(INTERPRETERS);
        // 0 is none.
        let _ = numbers.allocate(1, Instant::now());
        Ok(Self {
            numbers,
            search: Search::start(wake)?,
            said: HashSet::new(),
            unsupported: 0,
        })
    }

    /// Hands the interpreter of a process over under the number that is returned, if its
    /// file is known to have one; one that nobody has looked into is, and
    /// [`Unwinder::hear_of_interpreters`] goes on. The file lies `bias` bytes above its own
    /// addresses in a list of mappings.
    pub(super) fn of(
        &mut self,
        layouts: &mut Mapped<Layout>,
        of: (u32, u32, &Rc<str>),
        module: &Rc<Module>,
        bias: u64,
    ) -> Option<(u32, Runtime)> {
        if let Some(looked) = module.cpython() {
            return self.hand_over(layouts, of, looked?, bias);
        }
        self.search.order(module);
        None
    }

    fn hand_over(
        &mut self,
        layouts: &mut Mapped<Layout>,
        (pid, list, path): (u32, u32, &Rc<str>),
        symbols: RuntimeSymbols,
        bias: u64,
    ) -> Option<(u32, Runtime)> {
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

impl Unwinder {
    /// Hands over the interpreters of processes whose files were looked into.
    pub(super) fn hear_of_interpreters(&mut self) {
        while let Some((file, symbols)) = self.interpreters.search.hear() {
            let lists = self.lists.iter_mut();
            for (id, list) in lists.filter(|(_, list)| list.cpython.is_none()) {
                let mut mapped = list.maps.iter().zip(&list.files);
                let found = mapped.find_map(|(map, place)| {
                    let (of, bias) = place.as_ref()?;
                    (**of == file).then_some((&map.file.path, *bias))
                });
                let Some((path, bias)) = found else {
                    continue;
                };
                let users = self.published.iter().filter(|(_, list)| *list == id);
                let pids: Vec<u32> = users.map(|(pid, _)| *pid).collect();
                let Some(&pid) = pids.first() else {
                    continue;
                };
                let of = (pid, list.number, path);
                let layouts = &mut self.maps.cpython;
                list.cpython = self.interpreters.hand_over(layouts, of, symbols, bias);
                for pid in pids.into_iter().filter(|_| list.cpython.is_some()) {
                    if let Err(error) = self.maps.insert(pid, list.known()) {
                        tracing::debug!("{error:#}");
                    }
                }
            }
        }
    }
}
