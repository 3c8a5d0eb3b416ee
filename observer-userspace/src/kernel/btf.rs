//! Field offsets of the running kernel, from its own type information.

use std::path::Path;

use anyhow::{Context, Result};
use btf_rs::{Btf, BtfType, Struct, Type};
use observer_common::offsets::{MISSING, Offsets, Spec};

/// Where the kernel shows its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's types. Costs tens of megabytes while it lives: drop it
/// after the start.
pub struct KernelBtf(Btf);

impl KernelBtf {
    /// Reads the running kernel's BTF.
    pub fn load() -> Result<Self> {
        let btf = Btf::from_file(Path::new(VMLINUX)).with_context(|| {
            format!(
                "cannot read {VMLINUX}: Observer needs a kernel built with CONFIG_DEBUG_INFO_BTF=y"
            )
        })?;
        Ok(Self(btf))
    }

    /// Looks up every offset; what isn't there is [`MISSING`].
    pub fn offsets(&self) -> Offsets {
        let values: Vec<u32> = Offsets::SPECS
            .iter()
            .map(|spec| self.offset(spec).unwrap_or(MISSING))
            .collect();
        Offsets::from_slice(&values)
    }

    fn offset(&self, spec: &Spec) -> Option<u32> {
        if let Some(name) = spec.structure.strip_prefix("enum ") {
            return spec
                .paths
                .iter()
                .find_map(|path| self.enumerator(name, path));
        }
        if let Some(tracepoint) = spec.structure.strip_prefix("arguments ") {
            return self.tracepoint_arguments(tracepoint);
        }
        let types = self.0.resolve_types_by_name(spec.structure).ok()?;
        let structure = types.into_iter().find_map(as_struct)?;
        spec.paths.iter().find_map(|path| {
            let mut current = structure.clone();
            let mut bits = 0;
            let mut names = path.split('.').peekable();
            while let Some(name) = names.next() {
                let (offset, member) = self.member(&current, name)?;
                bits += offset;
                if names.peek().is_some() {
                    current = as_struct(member)?;
                }
            }
            // Bit fields have no byte offset.
            (bits % 8 == 0).then_some(bits / 8)
        })
    }

    /// Bit offset and type of a member, also inside anonymous members.
    fn member(&self, structure: &Struct, name: &str) -> Option<(u32, Type)> {
        for member in &structure.members {
            let member_name = self.0.resolve_name(member).unwrap_or_default();
            if member_name == name {
                return Some((member.bit_offset(), self.strip(member)?));
            }
            if member_name.is_empty()
                && let Some(inner) = self.strip(member).and_then(as_struct)
                && let Some((offset, found)) = self.member(&inner, name)
            {
                return Some((member.bit_offset() + offset, found));
            }
        }
        None
    }

    /// The type behind const, volatile, typedefs and tags.
    fn strip(&self, of: &dyn BtfType) -> Option<Type> {
        let mut found = self.0.resolve_type_by_id(of.get_type_id().ok()?).ok()?;
        loop {
            found = match &found {
                Type::Typedef(_)
                | Type::Const(_)
                | Type::Volatile(_)
                | Type::Restrict(_)
                | Type::TypeTag(_) => {
                    let id = found.as_btf_type()?.get_type_id().ok()?;
                    self.0.resolve_type_by_id(id).ok()?
                }
                _ => return Some(found),
            };
        }
    }

    /// The value of an enumerator, e.g. `memory_cgrp_id` of `cgroup_subsys_id`.
    pub fn enumerator(&self, name: &str, enumerator: &str) -> Option<u32> {
        let types = self.0.resolve_types_by_name(name).ok()?;
        types.into_iter().find_map(|t| match t {
            Type::Enum(e) => e
                .members
                .iter()
                .find(|m| self.0.resolve_name(*m).is_ok_and(|n| n == enumerator))
                .map(btf_rs::EnumMember::val),
            _ => None,
        })
    }

    /// All enumerators of an enum, by name with their values.
    pub fn enumerators(&self, name: &str) -> Vec<(String, u32)> {
        let types = self.0.resolve_types_by_name(name).unwrap_or_default();
        types
            .into_iter()
            .filter_map(|t| match t {
                Type::Enum(e) => Some(e),
                _ => None,
            })
            .flat_map(|e| {
                e.members
                    .iter()
                    .filter_map(|m| Some((self.0.resolve_name(m).ok()?, m.val())))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// How many arguments a tracepoint hands to its programs.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<u32> {
        let types = self
            .0
            .resolve_types_by_name(&format!("btf_trace_{name}"))
            .ok()?;
        types.into_iter().find_map(|found| {
            // `typedef void (*btf_trace_x)(void *data, …)`.
            let Type::Typedef(typedef) = found else {
                return None;
            };
            let Type::Ptr(pointer) = self.strip(&typedef)? else {
                return None;
            };
            let Type::FuncProto(prototype) = self.strip(&pointer)? else {
                return None;
            };
            u32::try_from(prototype.parameters.len())
                .ok()?
                .checked_sub(1)
        })
    }

    /// Has the kernel a tracepoint of this name? (`btf_trace_*` typedefs are
    /// what BTF-typed raw tracepoints are attached by.)
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.0
            .resolve_ids_by_name(&format!("btf_trace_{name}"))
            .is_ok_and(|ids| !ids.is_empty())
    }
}

fn as_struct(found: Type) -> Option<Struct> {
    match found {
        Type::Struct(s) | Type::Union(s) => Some(s),
        _ => None,
    }
}
