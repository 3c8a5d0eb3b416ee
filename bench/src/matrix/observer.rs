//! Observer as a contender, in its usual configurations.

use std::sync::OnceLock;

use anyhow::{Context, Result};

use super::{Contender, Floor, Nothing, Report, Role, Running, Work};
use observer_testkit::collector::Collector;
use observer_testkit::daemon;
use observer_testkit::observer_bin;
use observer_testkit::tool::Tool;

type Reader = Box<dyn Fn(&Collector) -> Result<f64>>;

/// `observer run` with OTLP to a collector in this process.
pub struct Observer {
    name: String,
    narrow: bool,
    otlp: bool,
    arguments: Vec<String>,
    counts: Vec<(&'static str, Reader)>,
}

impl Observer {
    /// At its defaults.
    pub fn all() -> Self {
        Self::named("observer, all probes")
    }

    /// At its defaults, but for the governor, which is off; `None` if there is
    /// none.
    pub fn ungoverned() -> Option<Self> {
        has_option("--budget").then(|| {
            Self::named("observer, all probes, no governor").arguments(&["--budget", "off"])
        })
    }

    /// With these families only.
    pub fn only(families: &[&'static str]) -> Self {
        Self {
            narrow: true,
            ..Self::named(format!("observer, {} only", families.join(", ")))
        }
        .arguments(&["--probes", &families.join(",")])
    }

    /// At its defaults, under a name of its own.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            narrow: false,
            otlp: true,
            arguments: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Further arguments of `observer run`.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Without a collector: the summary goes to its output, and it tells nothing.
    pub fn without_otlp(mut self) -> Self {
        self.otlp = false;
        self
    }

    /// Reads a figure from all that it exported.
    pub fn counts(
        mut self,
        what: &'static str,
        read: impl Fn(&Collector) -> Result<f64> + 'static,
    ) -> Self {
        self.counts.push((what, Box::new(read)));
        self
    }
}

/// Whether `observer run` has this option.
fn has_option(option: &str) -> bool {
    static HELP: OnceLock<String> = OnceLock::new();
    let help = HELP.get_or_init(|| {
        let output = std::process::Command::new(observer_bin())
            .args(["run", "--help"])
            .output();
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    });
    help.split_whitespace().any(|word| word == option)
}

/// Those that take part in every benchmark, in their order: nothing, the floor of
/// all hooks and of `families`, Observer with all probes (governed and not) and
/// with `families`; each Observer as `adjust` makes it, e.g. with what it counts.
pub fn standard(
    families: &[&'static str],
    adjust: impl Fn(Observer) -> Observer,
) -> Vec<Box<dyn Contender>> {
    let mut all: Vec<Box<dyn Contender>> = vec![Box::new(Nothing), Box::new(Floor::all())];
    if !families.is_empty() {
        all.push(Box::new(Floor::of(families)));
    }
    let observers = [Some(Observer::all()), Observer::ungoverned()];
    let only = (!families.is_empty()).then(|| Observer::only(families));
    for observer in observers.into_iter().chain([only]).flatten() {
        all.push(Box::new(adjust(observer)));
    }
    all
}

impl Contender for Observer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn role(&self) -> Role {
        Role::Observer
    }

    fn narrow(&self) -> bool {
        self.narrow
    }

    fn start<'a>(&'a self, _work: &dyn Work) -> Result<Box<dyn Running + 'a>> {
        let collector = Collector::start()?;
        let endpoint = collector.endpoint();
        let mut arguments = if self.otlp {
            vec!["--otlp-endpoint", &endpoint]
        } else {
            Vec::new()
        };
        arguments.extend(self.arguments.iter().map(String::as_str));
        let daemon = daemon::start(&arguments)?;
        Ok(Box::new(Attached {
            daemon,
            collector,
            of: self,
        }))
    }
}

struct Attached<'a> {
    daemon: Tool,
    collector: Collector,
    of: &'a Observer,
}

impl Running for Attached<'_> {
    fn pids(&self) -> Vec<u32> {
        vec![self.daemon.pid()]
    }

    fn finish(self: Box<Self>) -> Result<Report> {
        let Self {
            daemon,
            collector,
            of,
        } = *self;
        // The last interval is exported at the end.
        let (_, peak) = daemon.end_and_peak()?;
        let mut report = Report {
            lost: of.otlp.then(|| collector.losses()).transpose()?,
            peak,
            ..Report::default()
        };
        for (what, read) in &of.counts {
            let figure = read(&collector).with_context(|| format!("its {what}"))?;
            report.counted.insert(what, figure);
        }
        Ok(report)
    }
}
