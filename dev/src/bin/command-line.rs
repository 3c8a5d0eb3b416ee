//! Writes manual pages and completions below the folder that is given.

use std::path::PathBuf;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    observer_dev::command_line::write(&folder.context("usage: command-line FOLDER")?)
}
