//! BTF as the kernel lays it out, read in place.
//!
//! The kernel's own has some 150,000 types; libraries that make an object of
//! each take fifty megabytes and a quarter of a second, for the fifty fields
//! that we want to know. This keeps the file as it is and one offset per type.
//!
//! Layout: include/uapi/linux/btf.h and Documentation/bpf/btf.rst.

use std::hash::{DefaultHasher, Hash, Hasher};

/// `BTF_MAGIC`, in the machine's own byte order.
const MAGIC: u16 = 0xeb9f;
/// `struct btf_type`: name, info, size or type.
const TYPE_BYTES: usize = 12;
/// A pointer on the machines that this runs on.
const POINTER_BYTES: u32 = 8;
/// `struct btf_header`.
const HEADER_BYTES: usize = 24;

/// `BTF_KIND_*`, those that are told apart here.
pub mod kind {
    /// A pointer.
    pub const POINTER: u8 = 2;
    /// An array.
    pub const ARRAY: u8 = 3;
    /// A structure.
    pub const STRUCT: u8 = 4;
    /// A union.
    pub const UNION: u8 = 5;
    /// An enumeration.
    pub const ENUM: u8 = 6;
    /// A declaration.
    pub const FORWARD: u8 = 7;
    /// A typedef.
    pub const TYPEDEF: u8 = 8;
    /// `volatile`.
    pub const VOLATILE: u8 = 9;
    /// `const`.
    pub const CONST: u8 = 10;
    /// `restrict`.
    pub const RESTRICT: u8 = 11;
    /// A function.
    pub const FUNC: u8 = 12;
    /// A function's prototype.
    pub const FUNC_PROTO: u8 = 13;
    /// A tag on a type.
    pub const TYPE_TAG: u8 = 18;
}

/// A parsed BTF file: the bytes and where each type begins.
pub struct RawBtf {
    bytes: Vec<u8>,
    strings: std::ops::Range<usize>,
    /// Place of type `id` at `id - 1`; 0 is `void`.
    types: Vec<u32>,
    /// Hash of the name and number of every type that can be looked up, sorted.
    names: Vec<(u64, u32)>,
}

/// A type as BTF has it, its name and members by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawType {
    /// Its number.
    pub id: u32,
    /// `BTF_KIND_*`.
    pub kind: u8,
    /// Its size, or the type that it refers to.
    pub size_or_type: u32,
    name: u32,
    count: usize,
    flag: bool,
    at: usize,
}

/// One member of a structure or union.
#[derive(Clone, Copy, Debug)]
pub struct RawMember<'a> {
    /// Its name; empty if it has none.
    pub name: &'a [u8],
    /// Its type's number.
    pub type_id: u32,
    /// Where it lies, in bits.
    pub bit_offset: u32,
    /// How many bits a bit field has; 0 for other members.
    pub bits: u32,
}

impl RawBtf {
    /// Finds the types; `None` if this isn't BTF of this machine's byte order.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let header = word(&bytes, 4)? as usize;
        let section = |at: usize| {
            let begin = header.checked_add(word(&bytes, at)? as usize)?;
            let end = begin.checked_add(word(&bytes, at + 4)? as usize)?;
            (end <= bytes.len()).then_some(begin..end)
        };
        let (section_types, strings) = (section(8)?, section(16)?);
        let mut types = Vec::with_capacity(section_types.len() / 24);
        let mut at = section_types.start;
        while at < section_types.end {
            types.push(u32::try_from(at).ok()?);
            let info = word(&bytes, at + 4)?;
            at += TYPE_BYTES + trailing_bytes(kind_of(info), count_of(info))?;
        }
        let mut btf = Self {
            bytes,
            strings,
            types,
            names: Vec::new(),
        };
        let wanted = [kind::STRUCT, kind::UNION, kind::ENUM, kind::TYPEDEF];
        btf.names = btf
            .all()
            .filter(|found| wanted.contains(&found.kind))
            .map(|found| (hash(btf.name(found)), found.id))
            .collect();
        btf.names.sort_unstable();
        Some(btf)
    }

    /// The type with this number; `None` for `void` and numbers there aren't.
    pub fn get(&self, id: u32) -> Option<RawType> {
        let at = *self.types.get(id.checked_sub(1)? as usize)? as usize;
        let info = word(&self.bytes, at + 4)?;
        Some(RawType {
            id,
            kind: kind_of(info),
            size_or_type: word(&self.bytes, at + 8)?,
            name: word(&self.bytes, at)?,
            count: count_of(info),
            flag: info >> 31 != 0,
            at: at + TYPE_BYTES,
        })
    }

    /// All types, in the order of their numbers.
    pub fn all(&self) -> impl Iterator<Item = RawType> {
        (1..=self.types.len() as u32).filter_map(|id| self.get(id))
    }

    /// All types of these kinds (structure, union, enumeration, typedef) with a
    /// name, in the order of their numbers.
    pub fn find(&self, kinds: &'static [u8], name: &str) -> impl Iterator<Item = RawType> {
        let hash = hash(name.as_bytes());
        let begin = self.names.partition_point(|(known, _)| *known < hash);
        self.names
            .iter()
            .skip(begin)
            .take_while(move |(known, _)| *known == hash)
            .filter_map(|(_, id)| self.get(*id))
            .filter(move |found| {
                kinds.contains(&found.kind) && self.name(*found) == name.as_bytes()
            })
    }

    /// A type's name.
    pub fn name(&self, of: RawType) -> &[u8] {
        self.string(of.name)
    }

    /// Members of a structure or union; nothing for other kinds.
    pub fn members(&self, of: RawType) -> impl Iterator<Item = RawMember<'_>> {
        let count = if matches!(of.kind, kind::STRUCT | kind::UNION) {
            of.count
        } else {
            0
        };
        (0..count).filter_map(move |i| {
            let at = of.at + 12 * i;
            let offset = word(&self.bytes, at + 8)?;
            Some(RawMember {
                name: self.string(word(&self.bytes, at)?),
                type_id: word(&self.bytes, at + 4)?,
                // With the flag, the upper byte is a bit field's width.
                bit_offset: if of.flag {
                    offset & 0x00ff_ffff
                } else {
                    offset
                },
                bits: if of.flag { offset >> 24 } else { 0 },
            })
        })
    }

    /// Enumerators with their values; nothing for other kinds.
    pub fn enumerators(&self, of: RawType) -> impl Iterator<Item = (&[u8], u32)> {
        let count = if of.kind == kind::ENUM { of.count } else { 0 };
        (0..count).filter_map(move |i| {
            let at = of.at + 8 * i;
            Some((
                self.string(word(&self.bytes, at)?),
                word(&self.bytes, at + 4)?,
            ))
        })
    }

    /// How many parameters a prototype has; `None` for other kinds.
    pub fn parameters(&self, of: RawType) -> Option<usize> {
        (of.kind == kind::FUNC_PROTO).then_some(of.count)
    }

    /// The type behind const, volatile, typedefs and tags.
    pub fn strip(&self, id: u32) -> Option<RawType> {
        let mut found = self.get(id)?;
        // Chains are short; broken BTF could have a circle.
        for _ in 0..32 {
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    found = self.get(found.size_or_type)?;
                }
                _ => return Some(found),
            }
        }
        None
    }

    /// How many bytes a value of this type has; `None` where none can be.
    pub fn size(&self, of: RawType) -> Option<u32> {
        let (mut of, mut times) = (of, 1u32);
        // Arrays of arrays are as deep as somebody writes them; broken BTF could
        // have a circle.
        for _ in 0..32 {
            match of.kind {
                kind::POINTER => return times.checked_mul(POINTER_BYTES),
                kind::ARRAY => {
                    // `struct btf_array`: elements' type, index's type, elements.
                    times = times.checked_mul(word(&self.bytes, of.at + 8)?)?;
                    of = self.strip(word(&self.bytes, of.at)?)?;
                }
                kind::FORWARD | kind::FUNC | kind::FUNC_PROTO => return None,
                _ => return times.checked_mul(of.size_or_type),
            }
        }
        None
    }

    /// The type of an array's elements, and how many bytes lie before the one with this
    /// number; `None` if there isn't one.
    pub fn element(&self, of: RawType, number: u32) -> Option<(RawType, u32)> {
        let elements = word(&self.bytes, of.at.checked_add(8)?)?;
        if of.kind != kind::ARRAY || number >= elements {
            return None;
        }
        let of = self.strip(word(&self.bytes, of.at)?)?;
        Some((of, self.size(of)?.checked_mul(number)?))
    }

    /// A smaller file in which types have the same numbers, but only those of a
    /// kind whose name begins so can be found; the rest is empty declarations.
    pub fn only(&self, wanted: &[(u8, &str)]) -> Vec<u8> {
        let is_wanted = |found: RawType| {
            let begin = self.strings.start.saturating_add(found.name as usize);
            let name = self.bytes.get(begin..self.strings.end).unwrap_or_default();
            wanted
                .iter()
                .any(|(kind, prefix)| *kind == found.kind && name.starts_with(prefix.as_bytes()))
        };
        // The empty name comes first.
        let (mut types, mut strings) = (Vec::with_capacity(self.types.len()), vec![0]);
        for id in 1..=self.types.len() as u32 {
            let mut small = [0, u32::from(kind::FORWARD) << 24, 0];
            if let Some(found) = self.get(id).filter(|found| is_wanted(*found)) {
                small = [
                    strings.len() as u32,
                    u32::from(found.kind) << 24,
                    found.size_or_type,
                ];
                strings.extend_from_slice(self.name(found));
                strings.push(0);
            }
            types.push(small);
        }
        let types_bytes = (types.len() * TYPE_BYTES) as u32;
        // `struct btf_header`: magic, version 1, no flags, its own length, then
        // place and length of types and strings.
        let mut file = Vec::with_capacity(HEADER_BYTES + types_bytes as usize + strings.len());
        file.extend(MAGIC.to_ne_bytes());
        file.extend([1, 0]);
        for word in [
            HEADER_BYTES as u32,
            0,
            types_bytes,
            types_bytes,
            strings.len() as u32,
        ] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(
            types
                .as_flattened()
                .iter()
                .flat_map(|word| word.to_ne_bytes()),
        );
        file.extend(strings);
        file
    }

    fn string(&self, offset: u32) -> &[u8] {
        let begin = self.strings.start.saturating_add(offset as usize);
        let rest = self.bytes.get(begin..self.strings.end).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

fn kind_of(info: u32) -> u8 {
    (info >> 24) as u8 & 0x1f
}

fn count_of(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// What follows a type's first twelve bytes; `None` for kinds that are newer
/// than this code: nothing behind them could be found.
fn trailing_bytes(kind: u8, count: usize) -> Option<usize> {
    Some(match kind {
        // int, var, decl_tag
        1 | 14 | 17 => 4,
        // array
        3 => 12,
        // struct, union, datasec, enum64
        4 | 5 | 15 | 19 => 12 * count,
        // enum, func_proto
        6 | 13 => 8 * count,
        // ptr, fwd, typedef, volatile, const, restrict, func, float, type_tag
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}
