//! Integers and strings of HPACK (RFC 7541, 5).

use super::huffman;

/// It can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// A string, as it stands in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    bytes: &'a [u8],
    huffman: bool,
}

impl Text<'_> {
    /// Decodes it to `text`, as far as it isn't longer than `limit`.
    pub fn decode(&self, text: &mut Vec<u8>, limit: usize) -> Result<(), Broken> {
        text.clear();
        if self.huffman {
            return huffman::decode(self.bytes, text, limit).ok_or(Broken);
        }
        text.extend_from_slice(self.bytes.get(..limit).unwrap_or(self.bytes));
        Ok(())
    }
}

/// An integer with a prefix of so many bits (RFC 7541, 5.1).
pub(super) fn integer(rest: &mut &[u8], prefix: u32) -> Result<u64, Broken> {
    let (&first, mut more) = rest.split_first().ok_or(Broken)?;
    let limit = (1u64 << prefix) - 1;
    let mut value = u64::from(first) & limit;
    if value == limit {
        let mut shift = 0;
        loop {
            let (&byte, rest) = more.split_first().ok_or(Broken)?;
            more = rest;
            value += u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 28 {
                return Err(Broken);
            }
        }
    }
    *rest = more;
    Ok(value)
}

/// A string (RFC 7541, 5.2).
pub(super) fn string<'a>(rest: &mut &'a [u8]) -> Result<Text<'a>, Broken> {
    let huffman = rest.first().ok_or(Broken)? & 0x80 != 0;
    let length = usize::try_from(integer(rest, 7)?).map_err(|_| Broken)?;
    let (bytes, more) = rest.split_at_checked(length).ok_or(Broken)?;
    *rest = more;
    Ok(Text { bytes, huffman })
}
