//! RPM's package (<https://rpm-software-management.github.io/rpm/manual/spec.html>).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{CONFIGURATION, DESCRIPTION, Packer, SUMMARY, script, write};
use crate::dist::VERSION;
use crate::dist::archive::File;

/// What rpm runs, when, and from which file.
const SCRIPTS: &[(&str, &str)] = &[
    ("post", "installed.sh"),
    ("preun", "removing.sh"),
    ("postun", "removed.sh"),
];

/// Folders that are nobody else's, or that not every system has: a folder of several
/// packages goes with the last of them.
const OWN: &[&str] = &[
    "etc/observer",
    "usr/lib/sysusers.d",
    "usr/share/doc/observer",
    "usr/share/fish",
    "usr/share/fish/vendor_completions.d",
    "usr/share/zsh",
    "usr/share/zsh/site-functions",
];

/// What rpmbuild would add of its own: names of the machine and the time, stripping and
/// compressing again, libraries that a static program doesn't need, links by build ids.
const PLAIN: &[(&str, &str)] = &[
    ("_buildhost", "observer.invalid"),
    ("use_source_date_epoch_as_buildtime", "1"),
    ("clamp_mtime_to_source_date_epoch", "1"),
    ("source_date_epoch_from_changelog", "0"),
    ("__os_install_post", "%{nil}"),
    ("debug_package", "%{nil}"),
    ("_build_id_links", "none"),
    ("_binary_payload", "w9.gzdio"),
];

impl Packer {
    /// Makes the package of a revision below `out`.
    pub fn rpm(&self, revision: u32, out: &Path) -> Result<PathBuf> {
        let (_, architecture) = self.target.of_packages();
        let root = self.lay("rpm")?;
        let work = self.folder.join("rpmbuild");
        let spec = spec(&self.files, revision, &root)?;
        write(&work, "observer.spec", spec.as_bytes(), 0o644)?;
        let name = format!("observer-{VERSION}-{revision}.{architecture}.rpm");
        let mut rpm = Command::new("rpmbuild");
        rpm.args(["--quiet", "-bb", "--target"])
            .arg(format!("{architecture}-linux"));
        let folders = [("_topdir", work.as_path()), ("_rpmdir", out)];
        for (macro_name, folder) in folders {
            let folder = folder.to_str().context("a folder's name isn't UTF-8")?;
            rpm.args(["--define", &format!("{macro_name} {folder}")]);
        }
        rpm.args(["--define", &format!("_rpmfilename {name}")]);
        for (macro_name, value) in PLAIN {
            rpm.args(["--define", &format!("{macro_name} {value}")]);
        }
        self.run(rpm.arg(work.join("observer.spec")), "rpm")?;
        Ok(out.join(name))
    }
}

/// All that rpmbuild reads but for the files, which lie in `staged`.
fn spec(files: &[File], revision: u32, staged: &Path) -> Result<String> {
    let staged = staged.to_str().context("a folder's name isn't UTF-8")?;
    let mut text = format!(
        "Name: observer\nVersion: {VERSION}\nRelease: {revision}\nSummary: {SUMMARY}\n\
         License: Apache-2.0 OR MIT\nAutoReqProv: no\n\n%description\n{}\n\n\
         %install\ncp --archive \"{}/.\" \"%{{buildroot}}\"\n",
        DESCRIPTION.join("\n"),
        literal(staged)
    );
    for (when, name) in SCRIPTS {
        let _ = write!(text, "\n%{when}\n{}", literal(&script("rpm", name)?));
    }
    text.push_str("\n%files\n");
    for folder in OWN {
        let _ = writeln!(text, "%dir %attr(755, root, root) /{folder}");
    }
    for File { path, mode, .. } in files {
        let kind = if path == CONFIGURATION {
            "%config(noreplace) "
        } else if path.starts_with("usr/share/doc/") || path.starts_with("usr/share/man/") {
            "%doc "
        } else {
            ""
        };
        let path = literal(path);
        let _ = writeln!(text, "{kind}%attr({mode:o}, root, root) /{path}");
    }
    Ok(text)
}

/// A text in which rpmbuild finds no macros.
fn literal(text: &str) -> String {
    text.replace('%', "%%")
}
