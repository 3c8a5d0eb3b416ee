//! The subcommands: each a short story in terms of the other modules.
//!
//! What is wrong with the command line, the configuration or the privileges is
//! said in one line on standard error, with exit status 2, before anything is
//! attached; what goes wrong later ends with status 1.

mod args;
mod check;
mod record;
mod run;
mod session;
mod trace;
mod usage;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::config::Config;
use crate::logging;
use args::{Cli, Command};
use observer_signals::outside::{LONGEST, one_line};

/// Exit status when the user has to change something before it can work.
const EXIT_USAGE: u8 = 2;

/// Why a command ended early.
#[derive(Debug)]
enum Failure {
    /// Options, configuration or privileges: nothing was started.
    Usage(anyhow::Error),
    /// Something failed on the way.
    Runtime(anyhow::Error),
}

/// For `map_err`: it is the user's to mend.
fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Usage(error.into())
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// The command line's definition, from which its manual pages and completions are
/// made.
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// Parses the process's arguments, does what they say and returns its status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            // --help and --version; a closed pipe is nobody's mistake.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(usage::one_line(&error));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let status = match execute(cli) {
        Ok(status) => status,
        Err(Failure::Usage(error)) => {
            complain(format_args!("{error:#}"));
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Runtime(error)) => {
            complain(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    logging::flush(logging::AT_END);
    status
}

fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Check(args) => {
            let run = &args.run;
            let config = Config::load(run.config.as_deref(), run.layer(cli.log)).map_err(usage)?;
            check::execute(&config, args.json)
        }
        Command::Run(args) => {
            let config =
                Config::load(args.config.as_deref(), args.layer(cli.log)).map_err(usage)?;
            run::execute(config)
        }
        Command::Trace(args) => {
            let config =
                Config::load(args.config.as_deref(), args.layer(cli.log)).map_err(usage)?;
            trace::execute(config, &args)
        }
        Command::Record(args) => {
            let config =
                Config::load(args.config.as_deref(), args.layer(cli.log)).map_err(usage)?;
            record::execute(&config, args.command)
        }
    }
}

/// One line to standard error, after the log; if that is closed, or nobody reads it, there
/// is nobody to tell.
fn complain(message: impl Display) {
    let message = message.to_string();
    let lines: Vec<&str> = message
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let line = one_line(lines.join("; "), LONGEST);
    if logging::is_on() {
        logging::say(&format!("observer: {line}"));
    } else {
        let _ = writeln!(std::io::stderr(), "observer: {line}");
    }
}
