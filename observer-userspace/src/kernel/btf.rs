//! Field offsets of the running kernel, from its own type information.

mod misfit;
mod raw;

use std::path::Path;

use anyhow::{Context, Result};
use observer_common::offsets::{MISSING, Offsets, Spec};

pub use misfit::Misfit;
use raw::{RawBtf, RawType, kind};

/// Where the kernel shows its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// How deep anonymous members may be nested.
const NESTING: u32 = 16;

const STRUCTURES: &[u8] = &[kind::STRUCT, kind::UNION];

/// A member of a structure.
struct Member {
    bit_offset: u32,
    /// Of a bit field how many bits it has, else 0.
    bits: u32,
    of: RawType,
}

/// The running kernel's types. Costs as many megabytes as the file has.
pub struct KernelBtf(RawBtf);

impl KernelBtf {
    /// Reads the running kernel's BTF.
    ///
    /// # Errors
    ///
    /// When it isn't there or has an unknown form.
    pub fn load() -> Result<Self> {
        Self::read(Path::new(VMLINUX))
            .context("Observer needs a kernel built with CONFIG_DEBUG_INFO_BTF=y")
    }

    /// Reads BTF from a file.
    ///
    /// # Errors
    ///
    /// When it can't be read or has an unknown form.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let btf = RawBtf::parse(bytes)
            .with_context(|| format!("{shown} has a form that this version doesn't know"))?;
        Ok(Self(btf))
    }

    /// Looks up every offset; what isn't there, or isn't what the kernel half
    /// takes it for ([`Self::misfits`]), is [`MISSING`].
    pub fn offsets(&self) -> Offsets {
        let fits = |spec: &&Spec| misfit::of(self, spec).is_none();
        let values: Vec<u32> = Offsets::SPECS
            .iter()
            .map(|spec| Some(spec).filter(fits).and_then(|spec| self.offset(spec)))
            .map(|offset| offset.unwrap_or(MISSING))
            .collect();
        Offsets::from_slice(&values)
    }

    /// Fields that this kernel has, but smaller than what is read of them.
    pub fn misfits(&self) -> Vec<Misfit> {
        let specs = Offsets::SPECS.iter();
        specs.filter_map(|spec| misfit::of(self, spec)).collect()
    }

    fn offset(&self, spec: &Spec) -> Option<u32> {
        if let Some(name) = spec.structure.strip_prefix("enum ") {
            return spec
                .paths
                .iter()
                .find_map(|path| self.enumerator(name, path).or_else(|| self.unnamed(path)));
        }
        if let Some(tracepoint) = spec.structure.strip_prefix("arguments ") {
            return self.tracepoint_arguments(tracepoint);
        }
        let (bits, _) = self.field(spec)?;
        if spec.structure.starts_with("bit ") {
            return Some(bits);
        }
        // Bit fields have no byte offset.
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Where a field of a structure lies, in bits, and how many bytes it has.
    fn field(&self, spec: &Spec) -> Option<(u32, Option<u32>)> {
        let name = spec.structure;
        let name = name.strip_prefix("bit ").unwrap_or(name);
        let structure = self.0.find(STRUCTURES, name).next()?;
        spec.paths.iter().find_map(|path| {
            let (mut current, mut bits, mut narrow) = (structure, 0, 0);
            for name in path.split('.') {
                let (name, element) = element(name);
                let found = self.member(current, name, NESTING)?;
                bits += found.bit_offset;
                (current, narrow) = (found.of, found.bits);
                if let Some(element) = element {
                    let (of, bytes) = self.0.element(current, element)?;
                    bits += bytes * 8;
                    current = of;
                }
            }
            let size = match narrow {
                0 => self.0.size(current),
                bits => Some(bits.div_ceil(8)),
            };
            Some((bits, size))
        })
    }

    /// A member, also inside anonymous members.
    fn member(&self, structure: RawType, name: &str, nesting: u32) -> Option<Member> {
        // Broken BTF could have a structure inside itself.
        let deeper = nesting.checked_sub(1)?;
        for member in self.0.members(structure) {
            if member.name == name.as_bytes() {
                return Some(Member {
                    bit_offset: member.bit_offset,
                    bits: member.bits,
                    of: self.0.strip(member.type_id)?,
                });
            }
            if member.name.is_empty()
                && let Some(inner) = self.0.strip(member.type_id)
                && let Some(found) = self.member(inner, name, deeper)
            {
                return Some(Member {
                    bit_offset: member.bit_offset + found.bit_offset,
                    ..found
                });
            }
        }
        None
    }

    /// The value of an enumerator, e.g. `memory_cgrp_id` of `cgroup_subsys_id`.
    pub fn enumerator(&self, name: &str, enumerator: &str) -> Option<u32> {
        let all = self.enumerators(name);
        all.into_iter()
            .find(|(known, _)| known == enumerator)
            .map(|(_, value)| value)
    }

    /// The value of an enumerator of any enum without a name. (The kernel gives
    /// and takes such names: `enum rqf_flags` has none in 6.12. Enumerators are
    /// told apart by their own.)
    fn unnamed(&self, enumerator: &str) -> Option<u32> {
        self.0
            .find(&[kind::ENUM], "")
            .flat_map(|found| self.0.enumerators(found))
            .find(|(known, _)| *known == enumerator.as_bytes())
            .map(|(_, value)| value)
    }

    /// All enumerators of an enum, by name with their values.
    pub fn enumerators(&self, name: &str) -> Vec<(String, u32)> {
        self.0
            .find(&[kind::ENUM], name)
            .flat_map(|found| self.0.enumerators(found))
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value))
            .collect()
    }

    /// The number of each of these functions; `None` if one isn't there.
    pub fn functions<const N: usize>(&self, names: [&str; N]) -> Option<[u32; N]> {
        let mut found = [0; N];
        for function in self.0.all().filter(|found| found.kind == kind::FUNC) {
            let name = self.0.name(function);
            let at = names.iter().position(|known| known.as_bytes() == name);
            if let Some(id) = at.and_then(|at| found.get_mut(at)) {
                *id = function.id;
            }
        }
        found.iter().all(|id| *id != 0).then_some(found)
    }

    /// Whether a structure has a member of this name, also inside anonymous ones.
    pub fn has_member(&self, structure: &str, name: &str) -> bool {
        let mut structures = self.0.find(STRUCTURES, structure);
        structures.any(|found| self.member(found, name, NESTING).is_some())
    }

    /// What aya needs to attach: the numbers of tracepoints and iterators. Of
    /// all types it would make as many objects, for 15 MB and 20 ms of CPU.
    ///
    /// # Errors
    ///
    /// When aya doesn't take it.
    pub fn hooks(&self) -> Result<aya::Btf> {
        let hooks = self
            .0
            .only(&[(kind::TYPEDEF, "btf_trace_"), (kind::FUNC, "bpf_iter_")]);
        aya::Btf::parse(&hooks, Default::default()).context("cannot make BTF of the kernel's hooks")
    }

    /// How many arguments a tracepoint hands to its programs.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<u32> {
        // `typedef void (*btf_trace_x)(void *data, …)`.
        let typedef = self.0.get(self.tracepoint_id(name)?)?;
        let pointer = self.0.strip(typedef.size_or_type)?;
        let prototype = self.0.strip(pointer.size_or_type)?;
        u32::try_from(self.0.parameters(prototype)?)
            .ok()?
            .checked_sub(1)
    }

    /// The type by which a BTF-typed raw tracepoint is attached.
    pub fn tracepoint_id(&self, name: &str) -> Option<u32> {
        let name = format!("btf_trace_{name}");
        self.0
            .find(&[kind::TYPEDEF], &name)
            .next()
            .map(|found| found.id)
    }

    /// Has the kernel a tracepoint of this name?
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.tracepoint_id(name).is_some()
    }
}

/// A member's name, and which of its elements is meant: `regs[29]`.
fn element(name: &str) -> (&str, Option<u32>) {
    let parts = name.strip_suffix(']').and_then(|rest| rest.split_once('['));
    match parts.map(|(name, number)| (name, number.parse().ok())) {
        Some((name, number @ Some(_))) => (name, number),
        _ => (name, None),
    }
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
