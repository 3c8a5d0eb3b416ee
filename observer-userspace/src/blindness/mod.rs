//! Whether families see what they observe: what each counted is compared with what
//! the kernel counts of the same by itself.
//!
//! Pure: a [`Witness`] is made by a family, a [`Watch`] judges. A family is blind
//! to something if it saw less than half of it. Why half: both count the same
//! events and differ by what happens while one is read after the other, which is
//! little among as many as [`Witness::least`]; what makes a family blind (a field
//! that means something else, a hook that no longer fires) takes all of some kind.
//! A family that loses events one by one says so by name (`observer.probe.lost`).

mod text;
mod watch;

use std::borrow::Cow;

pub use watch::{Blind, Change, Watch};

/// Something that a family and somebody else both count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// What is counted, in the plural: `disk operations of vda`.
    pub what: Cow<'static, str>,
    /// Who counts it beside the family: `/proc/diskstats`.
    pub source: &'static str,
    /// What the numbers are.
    pub unit: Unit,
    /// The family's count since any moment. It may be the larger one, as a family
    /// sees the whole host.
    pub seen: u64,
    /// The other's count since any other moment.
    pub counted: u64,
    /// Of fewer than so many nothing can be said; they add up until they are
    /// enough.
    pub least: u64,
}

/// What a [`Witness`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things, one by one.
    Events,
    /// Nanoseconds.
    Time,
}
