//! What a guest is booted for.

use super::guest::IN_GUEST;

/// What a guest does.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Runs a command.
    Run(Vec<String>),
    /// Tries all programs.
    Verify,
    /// Tries those of `observer run`, and compares what is said of known loads.
    Compare,
}

impl Task {
    /// What the guest runs.
    pub fn command(&self) -> Vec<String> {
        let part = match self {
            Self::Run(command) => return command.clone(),
            Self::Verify => "verify",
            Self::Compare => "compare",
        };
        let results = format!("{}/results", IN_GUEST);
        ["observer-guest", part, &results].map(str::to_owned).into()
    }
}
