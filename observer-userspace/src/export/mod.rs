//! Where signals go: OTLP, files, the terminal.

pub mod terminal;
