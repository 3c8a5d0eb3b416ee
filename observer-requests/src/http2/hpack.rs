//! HPACK (RFC 7541), of which only the fields matter that exchanges are made of.
//!
//! The dynamic table is what its encoder added since it was last known where the
//! encoder is: the newest entry has the lowest index, so an index is right
//! however much of the table is older than that, or was evicted; one that goes
//! beyond what is known has no value. Nothing can be attributed wrongly that
//! way, and neither the table's size nor its evictions need to be followed.

use std::collections::VecDeque;

use super::field::{Field, Reader};
use super::string::{Broken, integer, string};

/// Entries that are kept: more than the default table (4096 bytes, of which each
/// entry takes 32) has room for.
const MAX_ENTRIES: usize = 256;
/// Bytes of texts that are kept in all.
const MAX_TEXTS: usize = 8 * 1024;
/// Fields in the static table (appendix A).
const STATIC: u64 = 61;

/// One direction's decoder.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The newest first.
    entries: VecDeque<Field>,
    /// Bytes of their texts.
    texts: usize,
    reader: Reader,
}

impl Decoder {
    /// Something was added that wasn't seen: nothing is known of the table now.
    pub fn lose(&mut self) {
        self.entries.clear();
        self.texts = 0;
    }

    /// Decodes a block of fields. Of one that isn't `whole` as far as it goes:
    /// then, as after an error, the table isn't known any more.
    pub fn decode(
        &mut self,
        block: &[u8],
        whole: bool,
        mut each: impl FnMut(&Field),
    ) -> Result<(), Broken> {
        let mut rest = block;
        while !rest.is_empty() {
            if self.field(&mut rest, &mut each).is_err() {
                self.lose();
                return if whole { Err(Broken) } else { Ok(()) };
            }
        }
        if !whole {
            self.lose();
        }
        Ok(())
    }

    /// One representation (RFC 7541, 6).
    fn field(&mut self, rest: &mut &[u8], each: &mut impl FnMut(&Field)) -> Result<(), Broken> {
        let first = *rest.first().ok_or(Broken)?;
        if first & 0x80 != 0 {
            let index = integer(rest, 7)?;
            self.with(index, each)?;
        } else if first & 0x40 != 0 {
            let field = self.literal(rest, 6)?;
            each(&field);
            self.add(field);
        } else if first & 0x20 != 0 {
            // A table of no bytes has no entries (4.3); others are bounded here.
            if integer(rest, 5)? == 0 {
                self.lose();
            }
        } else {
            let field = self.literal(rest, 4)?;
            each(&field);
        }
        Ok(())
    }

    /// What stands at an index of both tables (2.3.3).
    fn with(&self, index: u64, each: &mut impl FnMut(&Field)) -> Result<(), Broken> {
        match index {
            0 => return Err(Broken),
            1..=STATIC => each(&Field::of_static(index as u8)),
            _ => each(self.entry(index).unwrap_or(&Field::UNKNOWN)),
        }
        Ok(())
    }

    fn entry(&self, index: u64) -> Option<&Field> {
        let index = usize::try_from(index - STATIC - 1).ok()?;
        self.entries.get(index)
    }

    /// A literal, with its name's index behind a prefix of so many bits.
    fn literal(&mut self, rest: &mut &[u8], prefix: u32) -> Result<Field, Broken> {
        let name = match integer(rest, prefix)? {
            0 => {
                let name = string(rest)?;
                self.reader.name(&name)?
            }
            index @ 1..=STATIC => Field::of_static(index as u8).name,
            index => self.entry(index).map_or(Field::UNKNOWN.name, |f| f.name),
        };
        let value = string(rest)?;
        self.reader.field(name, &value)
    }

    fn add(&mut self, field: Field) {
        self.texts += field.text_len();
        self.entries.push_front(field);
        while self.entries.len() > MAX_ENTRIES || self.texts > MAX_TEXTS {
            let Some(oldest) = self.entries.pop_back() else {
                break;
            };
            self.texts -= oldest.text_len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::{Name, Value};
    use super::*;

    /// Fields that are known in a block that is written in hexadecimal.
    fn fields(decoder: &mut Decoder, block: &str) -> Vec<(Name, Value)> {
        let digits: Vec<u8> = block.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("a byte")
        };
        let block: Vec<u8> = digits.chunks(2).map(byte).collect();
        let mut fields = Vec::new();
        let decoded = decoder.decode(&block, true, |field| {
            if field.value != Value::None {
                fields.push((field.name, field.value.clone()));
            }
        });
        assert_eq!(decoded, Ok(()));
        fields
    }

    /// Checks the requests of RFC 7541, C.3 and C.4.
    #[test]
    fn requests() {
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let coded = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::default();
            for (block, path) in blocks.iter().zip(["/", "/", "/index.html"]) {
                let expected = [
                    (Name::Method, Value::Method(crate::call::Method::Get)),
                    (Name::Path, Value::Text(path.into())),
                    (Name::Authority, Value::Text("www.example.com".into())),
                ];
                assert_eq!(fields(&mut decoder, block), expected);
            }
        }
    }

    /// Checks the answers of RFC 7541, C.6, whose table evicts entries.
    #[test]
    fn answers() {
        let blocks = [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
             2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
             77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
             9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ];
        let mut decoder = Decoder::default();
        for (block, status) in blocks.iter().zip([302, 307, 200]) {
            let expected = [(Name::Status, Value::Number(status))];
            assert_eq!(fields(&mut decoder, block), expected);
        }
    }

    /// Checks integers (RFC 7541, C.1), and those that are too long.
    #[test]
    fn integers() {
        let read = |mut bytes: &[u8], prefix| integer(&mut bytes, prefix).map(|i| (i, bytes.len()));
        assert_eq!(read(&[0x0a], 5), Ok((10, 0)));
        assert_eq!(read(&[0x1f, 0x9a, 0x0a, 7], 5), Ok((1337, 1)));
        assert_eq!(read(&[42], 8), Ok((42, 0)));
        assert_eq!(read(&[0xff], 7), Err(Broken));
        assert_eq!(read(&[0xff; 12], 7), Err(Broken));
    }
}
