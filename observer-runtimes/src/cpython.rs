//! CPython: where its runtime lies, and what is to be read there.
//!
//! Layouts are those of CPython's own headers, of the 64-bit default build; each is said
//! where it is used. Versions before 3.11 keep frames in another way, and of later ones and
//! of free-threaded builds the layouts aren't known yet: they are named, not guessed
//! ([`Unread::Version`](crate::Unread::Version), [`Unread::Build`](crate::Unread::Build)).

mod asyncio;
mod code;
mod interpreter;
mod objects;
mod offsets;
mod symbols;
mod version;

pub use asyncio::{Asyncio, RunningLoop};
pub use code::{Code, Identity};
pub use interpreter::Runtime;
pub use objects::Objects;
pub use offsets::{CodeOffsets, FrameOffsets, Offsets, RunningLoopPlace, StateOffsets, StrOffsets};
pub use symbols::{Place, RuntimeSymbols};
pub use version::Version;

#[cfg(test)]
mod tests;
