//! Python's own objects: strings, bytes, dicts.
//!
//! Layouts: `PyObject`, `PyVarObject` (Include/object.h), `PyTypeObject` (cpython/object.h),
//! `PyASCIIObject` (cpython/unicodeobject.h), `PyBytesObject` (cpython/bytesobject.h),
//! `PyDictObject` (cpython/dictobject.h), `PyDictKeysObject` (internal/pycore_dict.h); the
//! same in 3.11 to 3.13 but for what [`StrOffsets`](super::StrOffsets) has.

use super::offsets::Offsets;
use crate::memory::{Memory, Unread};

/// `PyObject.ob_type`.
const TYPE: u64 = 8;
/// `PyVarObject.ob_size`.
const SIZE: u64 = 16;
/// `PyTypeObject.tp_flags`.
const FLAGS: u64 = 168;
/// `Py_TPFLAGS_BYTES_SUBCLASS`, `_UNICODE_`, `_DICT_` (Include/object.h).
const IS_BYTES: u64 = 1 << 27;
const IS_STR: u64 = 1 << 28;
const IS_DICT: u64 = 1 << 29;
/// `PyBytesObject.ob_sval`.
const BYTES: u64 = 32;
/// `PyASCIIObject.length`, in code points, and `.state`.
const LENGTH: u64 = 16;
const STATE: u64 = 32;
/// `PyDictObject.ma_keys` and `.ma_values`.
const KEYS: u64 = 32;
const VALUES: u64 = 40;
/// Bytes of `PyDictKeysObject` before its table of indices.
const KEYS_HEADER: u64 = 32;

/// Longest string that is read, in bytes.
const MAX_STRING: usize = 16 * 1024;
/// Most entries of a dict that are read.
const MAX_ENTRIES: usize = 64 * 1024;

/// Reads objects of one CPython.
#[derive(Clone, Copy, Debug)]
pub struct Objects<'a, M> {
    /// Where they lie.
    pub memory: &'a M,
    /// How they lie there.
    pub offsets: &'a Offsets,
}

impl<M: Memory> Objects<'_, M> {
    fn has_flag(&self, object: u64, flag: u64) -> Result<bool, Unread> {
        let class = self.memory.u64(object, TYPE)?;
        Ok(self.memory.u64(class, FLAGS)? & flag != 0)
    }

    /// The `str` at `address`, of at most 16 KiB.
    ///
    /// # Errors
    /// It can't be read, isn't a `str`, or is longer.
    pub fn string(&self, address: u64) -> Result<String, Unread> {
        const WHAT: &str = "a str";
        if !self.has_flag(address, IS_STR)? {
            return Err(Unread::Misfit(WHAT));
        }
        let length = self.memory.u64(address, LENGTH)?;
        let state = self.memory.u32(address, STATE)?;
        // interned:2, kind:3 (bytes of a code point), compact:1, ascii:1, from the lowest.
        let kind = u64::from(state >> 2 & 7);
        let (compact, ascii) = (state & 1 << 5 != 0, state & 1 << 6 != 0);
        if !compact || !matches!((kind, ascii), (1, _) | (2 | 4, false)) {
            return Err(Unread::Misfit(WHAT));
        }
        let layout = &self.offsets.string;
        let text = if ascii { layout.ascii } else { layout.compact };
        let at = address.checked_add(text).ok_or(Unread::NotThere(address))?;
        let length = length.saturating_mul(kind);
        let bytes = self.memory.bytes(at, length, MAX_STRING, WHAT)?;
        // Lone surrogates (names of files that aren't UTF-8) aren't characters.
        let point = |p: u32| char::from_u32(p).unwrap_or(char::REPLACEMENT_CHARACTER);
        Ok(match kind {
            1 => bytes.iter().map(|b| char::from(*b)).collect(),
            2 => {
                let points = bytes.as_chunks::<2>().0.iter();
                points
                    .map(|p| point(u16::from_le_bytes(*p).into()))
                    .collect()
            }
            _ => {
                let points = bytes.as_chunks::<4>().0.iter();
                points.map(|p| point(u32::from_le_bytes(*p))).collect()
            }
        })
    }

    /// The `bytes` at `address`, if they are at most `limit`.
    ///
    /// # Errors
    /// They can't be read, aren't `bytes`, or are more.
    pub fn bytes(&self, address: u64, limit: usize) -> Result<Vec<u8>, Unread> {
        const WHAT: &str = "a bytes object";
        if !self.has_flag(address, IS_BYTES)? {
            return Err(Unread::Misfit(WHAT));
        }
        let length = self.memory.u64(address, SIZE)?;
        let at = address.checked_add(BYTES);
        let at = at.ok_or(Unread::NotThere(address))?;
        self.memory.bytes(at, length, limit, WHAT)
    }

    /// Keys and values of the `dict` at `address`, in the order in which they were put
    /// there; at most 65,536.
    ///
    /// # Errors
    /// They can't be read, there are more, or it isn't a `dict`.
    pub fn dict(&self, address: u64) -> Result<Vec<(u64, u64)>, Unread> {
        const WHAT: &str = "a dict";
        if !self.has_flag(address, IS_DICT)? {
            return Err(Unread::Misfit(WHAT));
        }
        let keys = self.memory.u64(address, KEYS)?;
        let header: [u8; KEYS_HEADER as usize] = self.memory.array(keys, 0)?;
        // dk_refcnt:8, dk_log2_size:1, dk_log2_index_bytes:1, dk_kind:1, …, dk_nentries at 24.
        let [.., n0, n1, n2, n3, n4, n5, n6, n7] = header;
        let count = u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
        let [_, _, _, _, _, _, _, _, _, log2_index_bytes, kind, ..] = header;
        let count = usize::try_from(count).ok().filter(|c| *c <= MAX_ENTRIES);
        let count = count.ok_or(Unread::TooLong(WHAT))?;
        let index = 1_u64.checked_shl(log2_index_bytes.into());
        let index = index.filter(|bytes| *bytes <= (MAX_ENTRIES as u64) << 4);
        let entries = index.and_then(|bytes| keys.checked_add(KEYS_HEADER + bytes));
        let entries = entries.ok_or(Unread::Misfit(WHAT))?;
        // DICT_KEYS_GENERAL has (hash, key, value), DICT_KEYS_UNICODE and _SPLIT (key,
        // value); the last has its values elsewhere.
        let (skipped, words) = match kind {
            0 => (1, 3),
            1 | 2 => (0, 2),
            _ => return Err(Unread::Misfit(WHAT)),
        };
        let limit = MAX_ENTRIES * 24;
        let table = (count * words * 8) as u64;
        let table = self.memory.bytes(entries, table, limit, WHAT)?;
        let elsewhere = match kind {
            2 => {
                let values = self.memory.u64(address, VALUES)?;
                let length = count as u64 * 8;
                Some(self.memory.bytes(values, length, limit, WHAT)?)
            }
            _ => None,
        };
        let word = |of: &[u8], at: usize| {
            let word = of.as_chunks::<8>().0.get(at);
            word.map_or(0, |w| u64::from_le_bytes(*w))
        };
        let pairs = (0..count).map(|i| {
            let key = word(&table, i * words + skipped);
            let value = match &elsewhere {
                Some(values) => word(values, i),
                None => word(&table, i * words + skipped + 1),
            };
            (key, value)
        });
        // Where one was taken out there is nothing.
        Ok(pairs.filter(|(k, v)| *k != 0 && *v != 0).collect())
    }

    /// What the `dict` at `address` has under the `str` `name`; keys of other types are
    /// passed over.
    ///
    /// # Errors
    /// See [`Self::dict`]; or a key can't be read.
    pub fn get(&self, address: u64, name: &str) -> Result<Option<u64>, Unread> {
        let length = name.chars().count() as u64;
        for (key, value) in self.dict(address)? {
            // Most differ in length: that is one read.
            if self.memory.u64(key, LENGTH)? != length {
                continue;
            }
            match self.string(key) {
                Ok(key) if key == name => return Ok(Some(value)),
                Ok(_) | Err(Unread::Misfit(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
