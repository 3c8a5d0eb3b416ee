//! The functions that a file's symbol table names.

use std::ops::Range;

use object::LittleEndian as LE;
use object::elf::{SHN_UNDEF, STT_FUNC, Sym64};
use object::pod::from_bytes;

use super::sections::{Image, Source};

/// Bytes of a name that are given; longer ones aren't looked for.
const MAX_NAME: usize = 64;

impl<S: Source + ?Sized> Image<'_, S> {
    /// Calls `each` with name and addresses of each function in the symbol
    /// table, or in that of the dynamic linker where there is no other. The range
    /// of one whose size isn't known is empty. Tables that can't be read have
    /// none.
    pub fn function_symbols(&self, mut each: impl FnMut(&[u8], Range<u64>)) {
        let mut tables = [(".symtab", ".strtab"), (".dynsym", ".dynstr")].into_iter();
        let Some((table, names)) =
            tables.find_map(|(table, names)| Some((self.section(table)?, self.section(names)?)))
        else {
            return;
        };
        let (Ok(table), Ok(names)) = (
            self.bytes("the symbol table", table),
            self.bytes("the symbols' names", names),
        ) else {
            return;
        };
        let (symbols, _) = table.as_chunks::<{ size_of::<Sym64<LE>>() }>();
        for symbol in symbols {
            let Ok((symbol, _)) = from_bytes::<Sym64<LE>>(symbol) else {
                return;
            };
            if symbol.st_type() == STT_FUNC && symbol.st_shndx.get(LE) != SHN_UNDEF {
                let start = symbol.st_value.get(LE);
                let name = names.get(symbol.st_name.get(LE) as usize..);
                let name = name.unwrap_or_default();
                let name = name.get(..MAX_NAME).unwrap_or(name);
                let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
                each(name, start..start.saturating_add(symbol.st_size.get(LE)));
            }
        }
    }
}
