//! The one time that stands in everything that is made.

use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail};

/// Seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u32);

impl Epoch {
    /// `SOURCE_DATE_EPOCH`, else the time of the last commit.
    pub fn of_sources() -> anyhow::Result<Self> {
        if let Ok(seconds) = std::env::var("SOURCE_DATE_EPOCH") {
            let seconds = seconds.parse();
            return Ok(Self(
                seconds.context("SOURCE_DATE_EPOCH isn't a number of seconds")?,
            ));
        }
        let mut git = Command::new("git");
        git.current_dir(crate::checkout());
        let out = git.args(["log", "-1", "--format=%ct"]).output();
        let out = out.context("cannot start git; set SOURCE_DATE_EPOCH instead")?;
        if !out.status.success() {
            bail!(
                "git knows no last commit, so set SOURCE_DATE_EPOCH: {}",
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
        let seconds = String::from_utf8_lossy(&out.stdout).trim().parse();
        Ok(Self(seconds.context("git's time of the last commit")?))
    }

    /// As RFC 3339 writes it.
    pub fn rfc3339(self) -> String {
        let time = UNIX_EPOCH + Duration::from_secs(self.0.into());
        humantime::format_rfc3339_seconds(time).to_string()
    }
}
