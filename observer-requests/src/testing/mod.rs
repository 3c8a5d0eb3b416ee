//! What parsers are tried with: for this crate's tests and the fuzz targets.

pub mod conversation;
pub mod hostile;
pub mod quoting;
#[cfg(test)]
pub(crate) mod real;
#[cfg(test)]
pub(crate) mod replays;
#[cfg(test)]
pub(crate) mod talk;
