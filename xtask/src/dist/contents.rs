//! What users get: one list of files, with their places in an archive and in a
//! system. Whatever is made is made of it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::archive::{self, File};
use super::binary::Binary;
use crate::cargo::run;

/// Where the daemon's configuration lies in a system.
pub const CONFIGURATION: &str = "etc/observer/observer.toml";
/// Where its unit lies.
pub const UNIT: &str = "usr/lib/systemd/system/observer.service";

const DOC: &str = "usr/share/doc/observer";

/// A file that users get.
pub struct Entry {
    /// In an archive; `None`: not there.
    archive: Option<String>,
    /// In a system; `None`: not there.
    system: Option<String>,
    mode: u32,
    data: Vec<u8>,
    /// Also in an image.
    image: bool,
}

/// All of them.
pub struct Contents(Vec<Entry>);

impl Contents {
    /// Collects what lies in the checkout, and makes the rest.
    pub fn gather(binary: &Binary, bom: &[u8], licences: &str) -> Result<Self> {
        let mut all = Self(Vec::new());
        all.add("observer", "usr/bin/observer", &binary.data).mode = 0o755;
        let configuration = commented(&text("docs/observer.toml")?);
        all.add("observer.toml", CONFIGURATION, configuration);
        for name in ["LICENSE", "LICENSE-APACHE", "LICENSE-MIT"] {
            all.add(name, &format!("{DOC}/{name}"), text(name)?);
        }
        let name = "LICENSES-OF-OTHERS";
        all.add(name, &format!("{DOC}/{name}"), licences);
        let name = "observer.cdx.json";
        all.add(name, &format!("{DOC}/{name}"), bom);
        // In an image nobody reads manuals or starts units.
        for entry in &mut all.0 {
            entry.image = true;
        }
        let name = "observer.service";
        all.add(name, UNIT, text("deploy/systemd/observer.service")?);
        let name = "observer.sysusers";
        let sysusers = text("deploy/systemd/observer.sysusers")?;
        all.add(name, "usr/lib/sysusers.d/observer.conf", sysusers);
        for path in [
            "README.md",
            "CHANGELOG.md",
            "docs/install.md",
            "docs/permissions.md",
        ] {
            let name = path.rsplit('/').next().unwrap_or(path);
            all.add(name, &format!("{DOC}/{name}"), text(path)?);
        }
        all.command_line()?;
        Ok(all)
    }

    fn add(&mut self, archive: &str, system: &str, data: impl AsRef<[u8]>) -> &mut Entry {
        self.0.push_mut(Entry {
            archive: Some(archive.to_owned()),
            system: Some(system.to_owned()),
            mode: 0o644,
            data: data.as_ref().to_vec(),
            image: false,
        })
    }

    /// Manual pages and completions, which `observer-dev` makes of the command line's
    /// definition.
    fn command_line(&mut self) -> Result<()> {
        let folder = crate::target_dir().join("dist-command-line");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).context("cannot clear old manual pages")?;
        }
        let mut cargo = crate::cargo::command();
        cargo.args(["run", "--quiet", "--locked", "--package", "observer-dev"]);
        run(cargo.args(["--bin", "command-line", "--"]).arg(&folder))?;
        for page in listed(&folder.join("man1"))? {
            let data = read(&folder.join("man1").join(&page))?;
            // Systems keep them compressed.
            let packed = archive::gzip(&data)?;
            self.add(&format!("man/{page}"), "", data).system = None;
            self.add("", &format!("usr/share/man/man1/{page}.gz"), packed)
                .archive = None;
        }
        let places = [
            ("bash", "usr/share/bash-completion/completions/observer"),
            ("zsh", "usr/share/zsh/site-functions/_observer"),
            ("fish", "usr/share/fish/vendor_completions.d/observer.fish"),
        ];
        for (shell, place) in places {
            let data = read(&folder.join("completions").join(shell))?;
            let name = place.rsplit('/').next().unwrap_or(place);
            let name = if shell == "bash" {
                "observer.bash"
            } else {
                name
            };
            self.add(&format!("completions/{name}"), place, data);
        }
        Ok(())
    }

    /// Files of an archive, in a folder called `name`.
    pub fn archive(&self, name: &str) -> Vec<File> {
        self.files(|entry| Some(format!("{name}/{}", entry.archive.as_ref()?)))
    }

    /// Files of a system.
    pub fn system(&self) -> Vec<File> {
        self.files(|entry| entry.system.clone())
    }

    /// Files of an image.
    pub fn image(&self) -> Vec<File> {
        self.files(|entry| entry.system.clone().filter(|_| entry.image))
    }

    fn files(&self, path: impl Fn(&Entry) -> Option<String>) -> Vec<File> {
        let files = self.0.iter().filter_map(|entry| {
            Some(File {
                path: path(entry)?,
                mode: entry.mode,
                data: entry.data.clone(),
            })
        });
        files.collect()
    }
}

fn text(name: &str) -> Result<String> {
    let text = std::fs::read_to_string(crate::checkout().join(name));
    text.with_context(|| format!("cannot read {name}"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The names in a folder, in order.
fn listed(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// The documented file with every option commented out, so that what it says are
/// defaults and examples, and changes nothing until somebody wants it to.
fn commented(documented: &str) -> String {
    let mut text = String::from(
        "# The configuration of `observer run`. Take the # away in front of what you change;\n\
         # `systemctl restart observer` reads it again.\n#\n",
    );
    for line in documented.lines() {
        let is_section = line.starts_with('[') && line.ends_with(']');
        let keep = line.is_empty() || line.starts_with('#') || is_section;
        let _ = writeln!(text, "{}{line}", if keep { "" } else { "#" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the packages' configuration sets nothing, and has every line of the
    /// documented one.
    #[test]
    fn the_default_file_sets_nothing() {
        let documented = text("docs/observer.toml").expect("the documented file");
        let commented = commented(&documented);
        for line in commented.lines() {
            let section = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase());
            let sets_nothing =
                line.is_empty() || line.starts_with('#') || section.is_some_and(is_name);
            assert!(sets_nothing, "{line}");
        }
        let restored: Vec<&str> = commented
            .lines()
            .skip(3)
            .map(|line| match line.strip_prefix('#') {
                Some(option) if !option.starts_with(' ') => option,
                _ => line,
            })
            .collect();
        assert_eq!(restored, documented.lines().collect::<Vec<_>>());
    }
}
