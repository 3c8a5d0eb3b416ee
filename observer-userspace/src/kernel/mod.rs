//! The running kernel: its BTF, features, clock; loading and reading BPF.

pub mod batch;
pub mod btf;
pub mod capabilities;
pub mod cells;
pub mod clock;
pub mod counters;
pub mod descriptors;
pub mod iter;
pub mod loaded;
pub mod mapped;
pub mod namespaces;
pub mod object;
pub mod perf;
pub mod release;
pub mod ring;
pub mod stats;
pub mod syscall_names;
pub(crate) mod syscalls;
pub mod tunables;
pub mod unwind;

pub use object::options::{Filters, LoadOptions, RequestOptions, SpanLimit};
pub use object::spec::{Attach, ProbeSpec, ProbeState, ProgramSpec};
pub use object::{AttachError, Kernel};
