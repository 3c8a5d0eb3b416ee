//! Reads the call frame information of one section.

use std::collections::HashMap;
use std::ops::Range;

use gimli::{
    BaseAddresses, CommonInformationEntry, DebugFrame, EhFrame, FrameDescriptionEntry,
    LittleEndian, Register, RegisterRule, UnwindContext, UnwindContextStorage, UnwindOffset,
    UnwindSection, UnwindTableRow,
};
use observer_common::unwind::Rule;

use super::arch::Arch;
use super::entries::entries;
use super::rule::{Bytes, Row, UNSUPPORTED};
use super::sections::{Frames, FramesKind};
use super::{MAX_CIE_BYTES, MAX_CIES};

type Cie<'a> = CommonInformationEntry<Bytes<'a>>;
type Fde<'a> = FrameDescriptionEntry<Bytes<'a>>;

/// Bounds for one function's instructions. AArch64 has 31 general registers
/// and 8 vector registers that calls preserve; states nest two deep at most
/// where compilers wrote them.
struct Bounds;

impl UnwindContextStorage<usize> for Bounds {
    type Rules = [(Register, RegisterRule<usize>); 64];
    type Stack = Box<[UnwindTableRow<usize, Self>; 8]>;
}

/// Reads the entries of one section.
pub struct Reader<'a> {
    section: Section<'a>,
    arch: Arch,
    bases: BaseAddresses,
    /// By offset.
    cies: HashMap<usize, Cie<'a>>,
    context: UnwindContext<usize, Bounds>,
    evaluated: u64,
}

enum Section<'a> {
    Eh(EhFrame<Bytes<'a>>),
    Debug(DebugFrame<Bytes<'a>>),
}

impl<'a> Reader<'a> {
    /// For a section, whose common entries it reads.
    pub fn new(frames: &'a Frames, arch: Arch) -> Self {
        let bases = BaseAddresses::default().set_eh_frame(frames.address);
        let bases = match frames.text {
            Some(text) => bases.set_text(text),
            None => bases,
        };
        let section = match frames.kind {
            FramesKind::EhFrame => {
                let mut section = EhFrame::new(&frames.data, LittleEndian);
                section.set_address_size(8);
                section.set_vendor(arch.vendor);
                Section::Eh(section)
            }
            FramesKind::DebugFrame => {
                let mut section = DebugFrame::new(&frames.data, LittleEndian);
                section.set_address_size(8);
                section.set_vendor(arch.vendor);
                Section::Debug(section)
            }
        };
        let mut reader = Self {
            section,
            arch,
            bases,
            cies: HashMap::new(),
            context: UnwindContext::new_in(),
            evaluated: 0,
        };
        let common = entries(frames).filter(|entry| entry.common);
        for entry in common.take(MAX_CIES) {
            if entry.size <= MAX_CIE_BYTES {
                reader.add_cie(entry.offset);
            }
        }
        reader
    }

    fn add_cie(&mut self, offset: usize) {
        let cie = match &self.section {
            Section::Eh(section) => section.cie_from_offset(&self.bases, offset.into()),
            Section::Debug(section) => section.cie_from_offset(&self.bases, offset.into()),
        };
        if let Ok(cie) = cie
            && cie.address_size() == 8
        {
            self.cies.insert(offset, cie);
        }
    }

    /// The addresses that the entry at an offset describes.
    pub fn function(&self, offset: usize) -> Option<Range<u64>> {
        let fde = match &self.section {
            Section::Eh(section) => fde(section, &self.bases, offset, &self.cies)?,
            Section::Debug(section) => fde(section, &self.bases, offset, &self.cies)?,
        };
        let start = fde.initial_address();
        Some(start..start.checked_add(fde.len())?)
    }

    /// Bytes of entries whose instructions have been run: a common one's count
    /// anew for each function.
    pub fn evaluated(&self) -> u64 {
        self.evaluated
    }

    /// Gives `push` the rows of the entry at an offset that lie in `range`, by
    /// rising address. Addresses are relative to `base`. From where the
    /// instructions can't be understood on, the code has a rule that says so.
    pub fn rows(
        &mut self,
        offset: usize,
        base: u64,
        range: Range<u32>,
        mut push: impl FnMut(u32, Rule),
    ) {
        // Rows may start before the range or behind it, if the entry lies.
        let mut clipped = |at: u64, rule: Rule| {
            let at = u32::try_from(at.saturating_sub(base)).unwrap_or(u32::MAX);
            if at < range.end {
                push(at.max(range.start), rule);
            }
        };
        let at = match &self.section {
            Section::Eh(section) => {
                let fde = fde(section, &self.bases, offset, &self.cies);
                fde.and_then(|fde| {
                    self.evaluated += cost(&fde);
                    let context = &mut self.context;
                    rows(section, self.arch, &self.bases, context, &fde, &mut clipped)
                })
            }
            Section::Debug(section) => {
                let fde = fde(section, &self.bases, offset, &self.cies);
                fde.and_then(|fde| {
                    self.evaluated += cost(&fde);
                    let context = &mut self.context;
                    rows(section, self.arch, &self.bases, context, &fde, &mut clipped)
                })
            }
        };
        if let Some(at) = at {
            clipped(at, UNSUPPORTED);
        }
    }
}

/// Bytes of a function's entry and of the common one.
fn cost(fde: &Fde<'_>) -> u64 {
    (fde.entry_len() + fde.cie().entry_len()) as u64
}

/// The entry of a function.
fn fde<'a, S: UnwindSection<Bytes<'a>>>(
    section: &S,
    bases: &BaseAddresses,
    offset: usize,
    cies: &HashMap<usize, Cie<'a>>,
) -> Option<Fde<'a>> {
    let known = |_: &S, _: &BaseAddresses, offset: S::Offset| {
        let offset: usize = UnwindOffset::into(offset);
        let cie = cies.get(&offset).cloned();
        cie.ok_or(gimli::Error::NotCiePointer(offset as u64))
    };
    section.fde_from_offset(bases, offset.into(), known).ok()
}

/// Gives `push` all rows of a function; returns the address from which on the
/// instructions could not be understood.
fn rows<'a, S: UnwindSection<Bytes<'a>>>(
    section: &S,
    arch: Arch,
    bases: &BaseAddresses,
    context: &mut UnwindContext<usize, Bounds>,
    fde: &Fde<'a>,
    push: &mut impl FnMut(u64, Rule),
) -> Option<u64> {
    let ra = fde.cie().return_address_register();
    let mut at = fde.initial_address();
    let Ok(mut table) = fde.rows(section, bases, context) else {
        return Some(at);
    };
    loop {
        match table.next_row() {
            Ok(Some(row)) => {
                let parts = Row {
                    cfa: row.cfa().clone(),
                    ra: row.register(ra),
                    fp: row.register(arch.fp),
                    sp: row.register(arch.sp),
                    signal: fde.is_signal_trampoline(),
                };
                push(row.start_address(), parts.rule(arch, section));
                at = row.end_address();
            }
            Ok(None) => return None,
            Err(_) => return Some(at),
        }
    }
}
