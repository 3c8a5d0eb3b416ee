//! A name that a service could have, and where it comes from.

/// Where a service's name comes from: `observer.service.name.source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` of the process.
    Environment,
    /// What the process's OpenTelemetry SDK publishes in its memory (OTEP 4719).
    ProcessContext,
    /// A property of the command line that is for this: `-Dspring.application.name`,
    /// `gunicorn --name`, `node --title`.
    CommandLine,
    /// The script that an interpreter runs.
    Script,
    /// The module that an interpreter runs, or that a server loads.
    Module,
    /// The archive that a Java virtual machine runs.
    Jar,
    /// The class that a Java virtual machine runs.
    MainClass,
    /// The assembly that `dotnet` runs.
    Assembly,
    /// The release or the node of an Erlang virtual machine.
    Release,
    /// The title that the process gave itself.
    ProcessTitle,
    /// The systemd unit.
    Unit,
    /// The container, by a name that outlives it.
    Container,
    /// The executable's file.
    Executable,
    /// The kernel's own thread.
    KernelThread,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Environment,
        Self::ProcessContext,
        Self::CommandLine,
        Self::Script,
        Self::Module,
        Self::Jar,
        Self::MainClass,
        Self::Assembly,
        Self::Release,
        Self::ProcessTitle,
        Self::Unit,
        Self::Container,
        Self::Executable,
        Self::KernelThread,
    ];

    /// As it is exported.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::ProcessContext => "process_context",
            Self::CommandLine => "command_line",
            Self::Script => "script",
            Self::Module => "module",
            Self::Jar => "jar",
            Self::MainClass => "main_class",
            Self::Assembly => "assembly",
            Self::Release => "release",
            Self::ProcessTitle => "process_title",
            Self::Unit => "systemd_unit",
            Self::Container => "container",
            Self::Executable => "executable",
            Self::KernelThread => "kernel_thread",
        }
    }

    /// Whether it is about one process, and another one of the same name and cgroup may
    /// have another.
    pub const fn is_of_process(self) -> bool {
        !matches!(
            self,
            Self::Unit | Self::Container | Self::Executable | Self::KernelThread
        )
    }
}

/// A name, and how good it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) source: Source,
    /// It could be anybody's, like `main`: unit and container are asked first.
    pub(crate) is_weak: bool,
    /// The version that stood behind it.
    pub(crate) version: Option<String>,
}

impl Candidate {
    /// A name that means one program.
    pub(crate) fn new(name: impl Into<String>, source: Source) -> Self {
        Self {
            name: name.into(),
            source,
            is_weak: false,
            version: None,
        }
    }

    /// A name that could be anybody's.
    pub(crate) fn weak(name: impl Into<String>, source: Source) -> Self {
        Self {
            is_weak: true,
            ..Self::new(name, source)
        }
    }
}
