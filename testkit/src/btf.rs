//! The kernel's types with lies in them, as a file for `--btf`.
//!
//! Layout: include/uapi/linux/btf.h. Nothing grows, so that the numbers of types
//! and the places of names stay.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// `BTF_KIND_*`.
const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;

/// The kernel's types, to be changed.
pub struct Types(Vec<u8>);

/// One type's place in the file.
#[derive(Clone, Copy)]
struct Place {
    id: u32,
    kind: u32,
    count: usize,
    at: usize,
}

impl Types {
    /// Those of the running kernel.
    pub fn of_this_kernel() -> Result<Self> {
        Ok(Self(fs::read("/sys/kernel/btf/vmlinux")?))
    }

    /// Writes them.
    pub fn write(&self, to: &Path) -> Result<()> {
        Ok(fs::write(to, &self.0)?)
    }

    /// Has everything called `name` be called otherwise: a hook, a field or an
    /// enumerator that is taken away.
    pub fn hide(&mut self, name: &str) -> Result<()> {
        let at = self.name(name)?;
        self.0[at + name.len() - 1] = b'~';
        Ok(())
    }

    /// Gives an enumerator another value.
    pub fn set_enumerator(&mut self, name: &str, value: u32) -> Result<()> {
        let wanted = self.offset_of(name)?;
        let mut enums = self.all()?.into_iter().filter(|place| place.kind == ENUM);
        // `struct btf_enum`: name, value.
        let found = enums.find_map(|place| {
            let values = (0..place.count).map(|i| place.at + 12 + 8 * i);
            values.into_iter().find(|at| self.word(*at) == wanted)
        });
        let at = found.with_context(|| format!("no enum has {name}"))?;
        self.set_word(at + 4, value);
        Ok(())
    }

    /// Has a member be a number of so many bytes.
    pub fn resize(&mut self, structure: &str, member: &str, bytes: u32) -> Result<()> {
        let mut ints = self.all()?.into_iter().filter(|place| place.kind == INT);
        let int = ints.find(|place| self.word(place.at + 8) == bytes);
        let int = int.with_context(|| format!("no number has {bytes} bytes"))?;
        let at = self.member(structure, member)?;
        self.set_word(at + 4, int.id);
        Ok(())
    }

    /// Has a member lie where another does.
    pub fn move_member(&mut self, structure: &str, member: &str, to: &str) -> Result<()> {
        let (from, to) = (self.member(structure, member)?, self.member(structure, to)?);
        self.set_word(from + 8, self.word(to + 8));
        Ok(())
    }

    /// Where a member of a structure is described: name, type, offset.
    fn member(&self, structure: &str, member: &str) -> Result<usize> {
        let (of, wanted) = (self.offset_of(structure)?, self.offset_of(member)?);
        let all = self.all()?.into_iter();
        let mut named = all.filter(|place| place.kind == STRUCT && self.word(place.at) == of);
        let found = named.find_map(|place| {
            let members = (0..place.count).map(|i| place.at + 12 + 12 * i);
            members.into_iter().find(|at| self.word(*at) == wanted)
        });
        found.with_context(|| format!("there is no {structure}.{member}"))
    }

    /// All types.
    fn all(&self) -> Result<Vec<Place>> {
        let (header, begin, length) = (self.word(4), self.word(8), self.word(12));
        let (mut at, mut types) = ((header + begin) as usize, Vec::new());
        let end = at + length as usize;
        while at < end {
            let info = self.word(at + 4);
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let id = types.len() as u32 + 1;
            types.push(Place {
                id,
                kind,
                count,
                at,
            });
            at += 12
                + match kind {
                    INT | 14 | 17 => 4,
                    ARRAY => 12,
                    STRUCT | UNION | 15 | 19 => 12 * count,
                    ENUM | 13 => 8 * count,
                    _ => 0,
                };
        }
        ensure!(at == end, "the kernel's types end within one");
        Ok(types)
    }

    /// Where a name is in the file.
    fn name(&self, name: &str) -> Result<usize> {
        // Names end with a NUL, and begin behind that of another. Numbers of types
        // may look like short ones.
        let (begin, whole) = (self.strings() as usize, format!("\0{name}\0"));
        let mut windows = self.0[begin..].windows(whole.len());
        let at = windows.position(|bytes| bytes == whole.as_bytes());
        Ok(begin + at.with_context(|| format!("this kernel knows no {name}"))? + 1)
    }

    /// Where names begin in the file.
    fn strings(&self) -> u32 {
        self.word(4) + self.word(16)
    }

    /// A name as types refer to it.
    fn offset_of(&self, name: &str) -> Result<u32> {
        Ok(u32::try_from(self.name(name)?)? - self.strings())
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = &self.0[at..at + 4];
        u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn set_word(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
}
