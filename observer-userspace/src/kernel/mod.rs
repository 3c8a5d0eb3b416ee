//! The running kernel: its BTF, features, clock; loading and reading BPF.

pub mod capabilities;
