//! Kernel code that comes and goes while we look: BPF programs and their
//! trampolines.
//!
//! Where containers or services start, BPF programs are loaded all the time.
//! Reading `/proc/kallsyms` again for each of them takes 50 ms of CPU; the
//! kernel tells name and place of each, which is all that is needed.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::module::{Lines, NamedLine};

#[derive(Debug)]
struct Code {
    end: u64,
    name: Lines,
    /// It is gone, but what was sampled before may still ask for it.
    gone: bool,
}

/// What came since the kernel's symbols were read.
#[derive(Debug, Default)]
pub struct KernelCode {
    /// By first address; they don't overlap.
    codes: BTreeMap<u64, Code>,
}

impl KernelCode {
    /// Something called `name` now lies from `start` until before `end`.
    pub fn add(&mut self, start: u64, end: u64, name: &str) {
        let overlapping: Vec<u64> = self
            .codes
            .range(..end)
            .rev()
            .take_while(|(_, code)| code.end > start)
            .map(|(start, _)| *start)
            .collect();
        for start in overlapping {
            self.codes.remove(&start);
        }
        let line = NamedLine {
            name: name.into(),
            ..NamedLine::default()
        };
        let code = Code {
            end,
            name: Rc::from([line]),
            gone: false,
        };
        self.codes.insert(start, code);
    }

    /// What lay at `start` is gone.
    pub fn remove(&mut self, start: u64) {
        if let Some(code) = self.codes.get_mut(&start) {
            code.gone = true;
        }
    }

    /// The name of what lies, or lay just now, at an address.
    pub fn find(&self, address: u64) -> Option<Lines> {
        let (_, code) = self.codes.range(..=address).next_back()?;
        (address < code.end).then(|| Rc::clone(&code.name))
    }

    /// All samples of what is gone have names by now.
    pub fn forget_gone(&mut self) {
        self.codes.retain(|_, code| !code.gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(codes: &KernelCode, address: u64) -> Option<String> {
        codes.find(address).map(|lines| lines[0].name.to_string())
    }

    /// Checks names by address while code comes, goes and takes another's place.
    #[test]
    fn comes_and_goes() {
        let mut codes = KernelCode::default();
        codes.add(0x1000, 0x1080, "one");
        codes.add(0x1080, 0x1100, "two");
        assert_eq!(name(&codes, 0xfff), None);
        assert_eq!(name(&codes, 0x1000).as_deref(), Some("one"));
        assert_eq!(name(&codes, 0x107f).as_deref(), Some("one"));
        assert_eq!(name(&codes, 0x1080).as_deref(), Some("two"));
        assert_eq!(name(&codes, 0x1100), None);

        codes.remove(0x1000);
        assert_eq!(
            name(&codes, 0x1000).as_deref(),
            Some("one"),
            "sampled before"
        );
        codes.forget_gone();
        assert_eq!(name(&codes, 0x1000), None);
        assert_eq!(name(&codes, 0x1080).as_deref(), Some("two"));

        codes.add(0x1040, 0x10c0, "over the border");
        assert_eq!(name(&codes, 0x1080).as_deref(), Some("over the border"));
        assert_eq!(name(&codes, 0x10c0), None, "two was there no longer");
    }
}
