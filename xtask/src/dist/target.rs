//! What is built for, and what others call it.

/// A target of the static binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// 64-bit x86.
    #[value(name = "x86_64-unknown-linux-musl")]
    X86_64,
}

/// What is built unless another is asked for.
pub const DEFAULT: &str = "x86_64-unknown-linux-musl";

impl Target {
    /// rustc's name.
    pub fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
        }
    }

    /// A C compiler that makes objects for musl, for the dependencies that have C
    /// parts, and Debian's package of it.
    pub fn c_compiler(self) -> (&'static str, &'static str) {
        match self {
            Self::X86_64 => ("musl-gcc", "musl-tools"),
        }
    }

    /// The architecture's name in Debian's packages and in RPM's.
    pub fn of_packages(self) -> (&'static str, &'static str) {
        match self {
            Self::X86_64 => ("amd64", "x86_64"),
        }
    }

    /// Its name in images, which is Go's.
    pub fn of_images(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
        }
    }

    /// Can this machine run it?
    pub fn runs_here(self) -> bool {
        self.triple().starts_with(std::env::consts::ARCH)
    }

    /// The number of the machine in an ELF file's head.
    pub fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => object::elf::EM_X86_64,
        }
    }
}
