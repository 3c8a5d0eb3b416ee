//! Who takes part in a benchmark.

use anyhow::Result;

use super::{Figures, Losses, Work};

/// As what it takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing is attached: what all others are compared to.
    Nothing,
    /// Empty programs.
    Floor,
    /// Observer, in some configuration.
    Observer,
    /// Somebody else's tool.
    Peer,
}

/// A tool in some configuration.
pub trait Contender {
    /// Names it in tables; unique within a benchmark.
    fn name(&self) -> String;

    /// As what it takes part.
    fn role(&self) -> Role;

    /// Whether it attaches to the hooks of the workload's own families only: then
    /// it is compared to the floor of those, if there is one.
    fn narrow(&self) -> bool {
        false
    }

    /// Installs what it needs.
    ///
    /// # Errors
    /// Why it can't run here; goes into the report.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// Starts it; when this returns it sees everything that the workload does
    /// from now on.
    ///
    /// # Errors
    /// Why it didn't start; goes into the report.
    fn start<'a>(&'a self, work: &dyn Work) -> Result<Box<dyn Running + 'a>>;
}

/// A tool at work; dropping it ends it, too.
pub trait Running {
    /// The processes whose CPU, memory and BPF programs are the tool's.
    fn pids(&self) -> Vec<u32>;

    /// Ends it and asks what it saw.
    ///
    /// # Errors
    /// When it failed meanwhile or doesn't say; goes into the report.
    fn finish(self: Box<Self>) -> Result<Report>;
}

/// What a tool says in the end.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it counted, under the names of [`super::Outcome::facts`].
    pub counted: Figures,
    /// Events that it says it lost; `None` if it doesn't say.
    pub lost: Option<Losses>,
    /// What the reader must know besides.
    pub notes: Vec<String>,
    /// The most memory that was resident until it ended, in MB, if it is known
    /// better than by looking while the workload ran.
    pub peak: Option<f64>,
}

/// Nothing attached at all.
pub struct Nothing;

impl Contender for Nothing {
    fn name(&self) -> String {
        "nothing".into()
    }

    fn role(&self) -> Role {
        Role::Nothing
    }

    fn start<'a>(&'a self, _work: &dyn Work) -> Result<Box<dyn Running + 'a>> {
        Ok(Box::new(Self))
    }
}

impl Running for Nothing {
    fn pids(&self) -> Vec<u32> {
        Vec::new()
    }

    fn finish(self: Box<Self>) -> Result<Report> {
        Ok(Report::default())
    }
}
