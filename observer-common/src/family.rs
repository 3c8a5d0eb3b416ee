//! The probe families, each under the one word by which it is found everywhere:
//! in options, in the names of files, in metrics and in the documentation.

use core::fmt;

macro_rules! families {
    ($($variant:ident = $word:literal, $meaning:literal;)*) => {
        /// A probe family.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Family { $(#[doc = $meaning] $variant,)* }

        impl Family {
            /// All families, in the order in which they are shown.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant,)*];

            /// Its word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

families! {
    Syscalls = "syscalls", "System calls.";
    Tcp = "tcp", "TCP connections.";
    Block = "block", "Block devices.";
    Cpu = "cpu", "Stacks on CPU.";
    Sched = "sched", "Run queue, context switches, CPU time.";
    OffCpu = "offcpu", "Stacks off CPU.";
    Requests = "requests", "Requests on connections.";
    Net = "net", "Packets, datagrams and drops.";
    Pressure = "pressure", "How full and how awaited CPU, memory, disks and limits are.";
}

/// A part of Observer that attaches something or can lose something: a family, or
/// what all families stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A family.
    Family(Family),
    /// The workloads, threads and processes.
    Identity,
    /// The tables of counters and histograms.
    Tally,
    /// The spans that families make.
    Spans,
    /// The kernel's machinery for programs.
    Bpf,
}

impl Part {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Family(family) => family.as_str(),
            Self::Identity => "identity",
            Self::Tally => "tally",
            Self::Spans => "spans",
            Self::Bpf => "bpf",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
