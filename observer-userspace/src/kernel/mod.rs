//! The running kernel: its BTF, features, clock; loading and reading BPF.

pub(crate) mod batch;
pub mod btf;
pub mod capabilities;
pub mod cells;
pub mod clock;
pub(crate) mod counters;
pub(crate) mod descriptors;
pub mod features;
pub mod grace;
pub(crate) mod iter;
pub mod loaded;
pub(crate) mod mapped;
pub(crate) mod namespaces;
pub(crate) mod object;
pub(crate) mod perf;
pub(crate) mod preemption;
pub mod programs;
pub(crate) mod release;
pub(crate) mod removal;
pub mod ring;
pub mod shares;
pub mod stats;
pub mod syscall_names;
pub(crate) mod syscalls;
pub(crate) mod tunables;
pub(crate) mod unwind;
pub mod workload_ids;

pub use object::options::{Filters, LoadOptions, RequestOptions, SpanLimit};
pub use object::spec::{Attach, ProbeSpec, ProbeState, ProgramSpec};
pub use object::{AttachError, Kernel};
