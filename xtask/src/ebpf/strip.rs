//! Removing DWARF from the object: the kernel and aya read BTF only.

use anyhow::Context;
use object::build::elf::{Builder, SectionData};

/// The object without `.debug_*` sections and their relocations.
pub fn debug_sections(object: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("the linker's output is not ELF")?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    // LLVM keeps section and symbol names in one table, the writer wants two.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    builder.delete_orphans();
    builder.delete_unused_versions();
    let mut out = Vec::new();
    builder
        .write(&mut out)
        .context("cannot write the stripped object")?;
    Ok(out)
}
