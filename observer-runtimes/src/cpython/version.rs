//! Which CPython it is.

use std::fmt;

/// `PY_VERSION_HEX` (Include/patchlevel.h): a byte each of major, minor and micro version,
/// then four bits of release level (0xa alpha, 0xb beta, 0xc candidate, 0xf final) and four
/// of its number. 0: older than 3.11, which has no `Py_Version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl Version {
    /// The version before which there is no symbol `Py_Version`.
    pub const UNKNOWN: Self = Self(0);

    /// Whether layouts change no more: it isn't an alpha or a beta.
    pub const fn is_settled(self) -> bool {
        self.0 == 0 || self.0 >> 4 & 0xf >= 0xc
    }

    /// Major, minor and micro version.
    pub const fn parts(self) -> [u8; 3] {
        let [major, minor, micro, _] = self.0.to_be_bytes();
        [major, minor, micro]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, micro, level] = self.0.to_be_bytes();
        if *self == Self::UNKNOWN {
            return f.write_str("CPython before 3.11");
        }
        write!(f, "CPython {major}.{minor}.{micro}")?;
        let serial = level & 0xf;
        match level >> 4 {
            0xa => write!(f, "a{serial}"),
            0xb => write!(f, "b{serial}"),
            0xc => write!(f, "rc{serial}"),
            _ => Ok(()),
        }
    }
}
