//! What may cross between the kernel half and the daemon.
//!
//! Records, keys and values of maps, mapped memory, and the globals that the
//! loader patches are bytes to whoever hands them over. A type that crosses
//! derives the three traits below, which look at each of its fields.

pub use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A type that crosses: it has no padding (which nobody initializes), no
/// pointer, and no bit pattern that isn't a value, as a `bool`'s or an enum's
/// would be. Whatever crosses can so be read from any bytes of its size, and
/// all of its bytes be handed over.
///
/// ```
/// use observer_common::plain::{FromBytes, Immutable, IntoBytes, prefix};
///
/// #[repr(C)]
/// #[derive(Clone, Copy, Debug, PartialEq, FromBytes, Immutable, IntoBytes)]
/// struct Record {
///     tag: u32,
///     padding: u32,
///     at: u64,
/// }
/// let bytes = [1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'x'];
/// let (record, rest) = prefix::<Record>(&bytes).unwrap();
/// assert_eq!((record.tag, record.at, rest), (1u32.to_le(), 7u64.to_le(), &b"x"[..]));
/// assert!(prefix::<Record>(&bytes[..15]).is_none());
/// ```
///
/// With a hole between its fields it doesn't compile:
///
/// ```compile_fail
/// use observer_common::plain::{FromBytes, Immutable, IntoBytes};
///
/// #[repr(C)]
/// #[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
/// struct Record {
///     tag: u32,
///     at: u64,
/// }
/// ```
///
/// Nor with a pointer:
///
/// ```compile_fail
/// use observer_common::plain::{FromBytes, Immutable, IntoBytes};
///
/// #[repr(C)]
/// #[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
/// struct Record {
///     name: *const u8,
/// }
/// ```
///
/// Nor with a field that not every byte is a value of:
///
/// ```compile_fail
/// use observer_common::plain::{FromBytes, Immutable, IntoBytes};
///
/// #[repr(C)]
/// #[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
/// struct Record {
///     is_server: bool,
/// }
/// ```
///
/// And what doesn't derive them can't be read:
///
/// ```compile_fail
/// #[derive(Clone, Copy)]
/// struct Record {
///     tag: u32,
/// }
/// observer_common::plain::prefix::<Record>(&[0; 4]);
/// ```
pub trait Plain: Copy + FromBytes + Immutable + IntoBytes + 'static {}

impl<T: Copy + FromBytes + Immutable + IntoBytes + 'static> Plain for T {}

/// The value at the beginning of `bytes`, wherever they lie, and what comes
/// behind it; `None` if they are too few.
pub fn prefix<T: Plain>(bytes: &[u8]) -> Option<(T, &[u8])> {
    T::read_from_prefix(bytes).ok()
}

/// The bytes of a value, as they cross.
pub fn bytes<T: Plain>(value: &T) -> &[u8] {
    value.as_bytes()
}

/// A value of zeroes, as the kernel makes what it keeps.
pub const fn zeroed<T: Plain>() -> T {
    // SAFETY: each bit pattern is a value of a plain type.
    unsafe { core::mem::zeroed() }
}
