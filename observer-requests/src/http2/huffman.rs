//! HPACK's Huffman code (RFC 7541, 5.2 and appendix B).
//!
//! The code is canonical: symbols of the same length have codes that follow each
//! other, and longer codes follow shorter ones. So the lengths say all of it.

/// Length of each symbol's code in bits; the last one ends a string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
/// The symbol that ends a string; it never stands in one.
const END: u16 = 256;
const LONGEST: usize = 30;
const SHORTEST: usize = 5;

/// The code, by lengths.
struct Code {
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
    /// The first code of each length, and where its symbol is.
    first: [(u32, u16); LONGEST + 1],
    /// How many codes have each length.
    count: [u16; LONGEST + 1],
    /// The symbol and the length of the code that a byte begins with; 0 if it is
    /// longer.
    short: [(u8, u8); 256],
}

static CODE: Code = code();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses an index out of bounds"
)]
const fn code() -> Code {
    let mut code = Code {
        symbols: [0; 257],
        first: [(0, 0); LONGEST + 1],
        count: [0; LONGEST + 1],
        short: [(0, 0); 256],
    };
    let (mut next, mut place, mut length) = (0u32, 0u16, 1);
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = (next, place);
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                code.symbols[place as usize] = symbol as u16;
                code.count[length] += 1;
                if length <= 8 {
                    let mut byte = (next as usize) << (8 - length);
                    let end = (next as usize + 1) << (8 - length);
                    while byte < end {
                        code.short[byte] = (symbol as u8, length as u8);
                        byte += 1;
                    }
                }
                next += 1;
                place += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
}

/// Decodes `bytes` to the end of `text`, as far as it isn't longer than `limit`
/// then. `None` if it isn't such a string.
pub(super) fn decode(bytes: &[u8], text: &mut Vec<u8>, limit: usize) -> Option<()> {
    let mut bytes = bytes.iter();
    // The next bits, in the lower part.
    let (mut next, mut bits) = (0u64, 0usize);
    while text.len() < limit {
        while bits <= 56
            && let Some(byte) = bytes.next()
        {
            next = next << 8 | u64::from(*byte);
            bits += 8;
        }
        if bits >= 8 {
            let byte = (next >> (bits - 8)) as u8;
            let (symbol, length) = *CODE.short.get(usize::from(byte))?;
            if length > 0 {
                text.push(symbol);
                bits -= usize::from(length);
                continue;
            }
        }
        let Some((symbol, length)) = long(next, bits) else {
            // What is left fills the last byte with ones.
            let ones = (1 << bits.min(8)) - 1;
            return (bits < 8 && next & ones == ones).then_some(());
        };
        if symbol == END {
            return None;
        }
        text.push(symbol as u8);
        bits -= length;
    }
    Some(())
}

/// The symbol that `bits` bits begin with, by its length.
fn long(next: u64, bits: usize) -> Option<(u16, usize)> {
    let lengths = CODE.first.iter().zip(&CODE.count).enumerate();
    let mut possible = lengths.take(bits + 1).skip(SHORTEST);
    possible.find_map(|(length, ((first, place), count))| {
        let code = (next >> (bits - length)) as u32 & ((1 << length) - 1);
        let behind = code.checked_sub(*first)?;
        if behind >= u32::from(*count) {
            return None;
        }
        let symbol = CODE.symbols.get(usize::from(*place) + behind as usize)?;
        Some((*symbol, length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        decode(bytes, &mut text, 4096).map(|()| text)
    }

    /// Checks the examples of RFC 7541, C.4 and C.6.
    #[test]
    fn examples() {
        let cases: &[(&[u8], &str)] = &[
            (
                b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
                "www.example.com",
            ),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (b"\x64\x02", "302"),
            (
                b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
                "https://www.example.com",
            ),
            (b"", ""),
        ];
        for (bytes, expected) in cases {
            assert_eq!(text(bytes).as_deref(), Some(expected.as_bytes()));
        }
    }

    /// Checks every symbol, short and long, against an independent decoder, and
    /// random bytes too.
    #[test]
    fn agrees_with_another_decoder() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut other = loona_hpack::huffman::HuffmanDecoder::new();
        let mut valid = 0;
        for round in 0..20_000 {
            let mut bytes: Vec<u8> = (0..random.usize(..12)).map(|_| random.u8(..)).collect();
            if round % 2 == 0 {
                // Mostly long codes.
                bytes.iter_mut().take(3).for_each(|byte| *byte |= 0xfc);
            }
            if let Some(last) = bytes.last_mut() {
                *last |= 0x3f;
            }
            let expected = other.decode(&bytes).ok();
            valid += usize::from(expected.is_some());
            assert_eq!(text(&bytes), expected, "{bytes:x?}");
        }
        assert!(valid > 1000, "{valid}");
    }

    /// Checks that padding is ones, and shorter than a byte (RFC 7541, 5.2).
    #[test]
    fn padding() {
        assert_eq!(text(b"\x1f").as_deref(), Some(&b"a"[..]));
        assert_eq!(text(b"\x1e"), None);
        assert_eq!(text(b"\x1f\xff"), None);
        assert_eq!(text(&[0xff; 4]), None);
    }

    /// Checks that no more is decoded than wanted.
    #[test]
    fn bounded() {
        let mut text = Vec::new();
        assert_eq!(decode(&[0; 1000], &mut text, 10), Some(()));
        assert_eq!(text, [b'0'; 10]);
    }
}
