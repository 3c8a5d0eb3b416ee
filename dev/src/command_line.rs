//! Manual pages and shell completions, made of the command line's definition.

use std::fs::{File, create_dir_all};
use std::path::Path;

use anyhow::{Context, Result};
use clap_complete::Shell;
use observer_userspace::commands::command_line;

/// The name that users type.
const NAME: &str = "observer";

/// The shells that are served.
pub const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes `man1/*.1`, a page for each command, and `completions/*` below `folder`.
///
/// # Errors
/// When the folder can't be written to.
pub fn write(folder: &Path) -> Result<()> {
    let pages = folder.join("man1");
    let completions = folder.join("completions");
    for folder in [&pages, &completions] {
        create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let command = command_line().disable_help_subcommand(true);
    clap_mangen::generate_to(command, &pages).context("cannot write the manual pages")?;
    for shell in SHELLS {
        let path = completions.join(shell.to_string());
        let mut file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        clap_complete::generate(shell, &mut command_line(), NAME, &mut file);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::{read_dir, read_to_string};

    use super::*;

    /// Checks that each command has its page, that each option stands on the page of
    /// its command, and in the completions of every shell.
    #[test]
    fn every_option_is_told() -> Result<()> {
        let folder = tempfile::tempdir()?;
        write(folder.path())?;
        let mut command = command_line();
        command.build();
        let mut wrong = Vec::new();
        let mut pages = BTreeSet::new();
        let mut options = 0;
        let mut scripts = Vec::new();
        for shell in SHELLS {
            let path = folder.path().join("completions").join(shell.to_string());
            scripts.push((shell, read_to_string(path)?));
        }
        let subcommands = command.get_subcommands();
        let told = subcommands.filter(|command| command.get_name() != "help");
        for command in std::iter::once(&command).chain(told) {
            let name = command.get_display_name().unwrap_or(command.get_name());
            let page = format!("{name}.1");
            let text = read_to_string(folder.path().join("man1").join(&page))
                .with_context(|| page.clone())?;
            pages.insert(page);
            for argument in command.get_arguments() {
                let Some(long) = argument.get_long().filter(|_| !argument.is_hide_set()) else {
                    continue;
                };
                options += 1;
                let as_roff = format!("\\-\\-{}", long.replace('-', "\\-"));
                if !text.contains(&as_roff) {
                    wrong.push(format!("--{long} isn't on the page of {name}"));
                }
                for (shell, script) in &scripts {
                    let written = match shell {
                        Shell::Fish => format!("-l {long} "),
                        _ => format!("--{long}"),
                    };
                    if !script.contains(&written) {
                        wrong.push(format!("--{long} isn't completed by {shell}"));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(options > 60, "only {options} options were compared");
        let mut written = BTreeSet::new();
        for page in read_dir(folder.path().join("man1"))? {
            written.insert(page?.file_name().to_string_lossy().into_owned());
        }
        assert_eq!(written, pages);
        Ok(())
    }
}
