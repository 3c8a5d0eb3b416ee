//! From an address to its mapping, and from there to its rule.

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, PerCpuArray};
use aya_ebpf::macros::btf_map;
use observer_common::unwind::{
    CHUNK_SHIFT, CHUNK_WORDS, Chunk, MAPPING_STEPS, MAPPINGS, Mapping, Process, RECENT_RULES,
    Recent, Rule, TABLE_EMPTY, TABLES as MAX_TABLES, search, table_index,
};

use crate::kernel::now;
use crate::scratch::CONTEXTS;

/// The mappings; written by the daemon.
#[btf_map]
static MAPPING_LIST: Array<Mapping, { MAPPINGS as usize }, { BPF_F_MMAPABLE as usize }> =
    Array::new();
/// The tables, one array of chunks each, made by the daemon.
#[btf_map]
static TABLES: ArrayOfMaps<Array<Chunk, 1, { BPF_F_INNER_MAP as usize }>, { MAX_TABLES as usize }> =
    ArrayOfMaps::new();
/// When a table was last used, in units of 2^30 ns.
#[btf_map]
static TABLE_USED: Array<u32, { MAX_TABLES as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();
/// Rules found lately.
#[btf_map]
static RECENT: PerCpuArray<[Recent; RECENT_RULES], CONTEXTS> = PerCpuArray::new();

/// Finds the mapping of an address among those of a process.
#[inline(always)]
pub fn find_mapping(process: &Process, address: u64, found: &mut Mapping) -> bool {
    let (mut low, mut high) = (0_u32, process.count);
    // Invariant: mappings before `low` begin at or before the address, those
    // from `high` on behind it.
    for _ in 0..MAPPING_STEPS {
        if low >= high {
            break;
        }
        let middle = low + ((high - low) >> 1);
        let Some(mapping) = MAPPING_LIST.get(process.first.wrapping_add(middle)) else {
            return false;
        };
        if mapping.start <= address {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if low == 0 {
        return false;
    }
    let Some(mapping) = MAPPING_LIST.get(process.first.wrapping_add(low - 1)) else {
        return false;
    };
    // An entry of another list was reused: what is known of the process is old.
    if mapping.list != process.list || address < mapping.start || address >= mapping.end {
        return false;
    }
    *found = *mapping;
    if mapping.table < TABLE_EMPTY
        && let Some(used) = TABLE_USED.get_ptr_mut(table_index(mapping.table))
    {
        // SAFETY: a map value; any of several writers' times will do.
        unsafe { core::ptr::write_volatile(used, (now() >> 30) as u32) };
    }
    true
}

/// Finds the rule for an address relative to a table's base, if the table has
/// one. False when the table is gone.
#[inline(always)]
pub fn find_rule(context: Option<u32>, table: u32, address: u64, rule: &mut Rule) -> bool {
    if address >> 32 != 0 {
        return true;
    }
    let key = Recent::key(table, address as u32);
    let rules = context.and_then(|context| RECENT.get_ptr_mut(context & (CONTEXTS as u32 - 1)));
    let Some(rules) = rules else {
        return search_table(table, address as u32, rule);
    };
    // SAFETY: a map value that only this context uses, and an index below its
    // length.
    let recent = unsafe { &mut (*rules)[Recent::place(key)] };
    if recent.key == key {
        *rule = recent.rule;
        return true;
    }
    if !search_table(table, address as u32, rule) {
        return false;
    }
    recent.key = key;
    recent.rule = *rule;
    true
}

/// The same by looking into the table.
#[inline(always)]
fn search_table(table: u32, address: u32, rule: &mut Rule) -> bool {
    let index = table_index(table);
    let Some(rows) = TABLES.get(index) else {
        return false;
    };
    let word = |index: u32| {
        let chunk = rows.get(index >> CHUNK_SHIFT)?;
        Some(chunk[index as usize & (CHUNK_WORDS - 1)])
    };
    if let Some(index) = search(address, word)
        && let Some(chunk) = rows.get(index >> CHUNK_SHIFT)
    {
        // Rules lie at multiples of their size, so never across chunks.
        let at = index as usize & (CHUNK_WORDS - Rule::WORDS as usize);
        *rule = Rule::from_words([chunk[at], chunk[at + 1], chunk[at + 2], chunk[at + 3]]);
    }
    true
}
