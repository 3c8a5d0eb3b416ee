//! Debian's package (<https://www.debian.org/doc/debian-policy/>).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{CONFIGURATION, DESCRIPTION, MAINTAINER, Packer, SUMMARY, script, write};
use crate::dist::VERSION;
use crate::dist::archive::File;

/// What dpkg runs.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

/// Where Debian's people look for licences.
const COPYRIGHT: &str = "usr/share/doc/observer/copyright";

impl Packer {
    /// Makes the package of a revision below `out`.
    pub fn deb(&self, revision: u32, out: &Path) -> Result<PathBuf> {
        let (architecture, _) = self.target.of_packages();
        let version = format!("{VERSION}-{revision}");
        let root = self.lay("deb")?;
        write(&root, COPYRIGHT, copyright().as_bytes(), 0o644)?;
        let control = control(&self.files, &version, architecture);
        write(&root, "DEBIAN/control", control.as_bytes(), 0o644)?;
        let configuration = format!("/{CONFIGURATION}\n");
        write(&root, "DEBIAN/conffiles", configuration.as_bytes(), 0o644)?;
        for name in SCRIPTS {
            let text = script("deb", name)?;
            write(&root, &format!("DEBIAN/{name}"), text.as_bytes(), 0o755)?;
        }
        let path = out.join(format!("observer_{version}_{architecture}.deb"));
        let mut deb = Command::new("dpkg-deb");
        deb.args(["--root-owner-group", "-Zgzip", "-z9", "--build"]);
        self.run(deb.arg(&root).arg(&path), "dpkg")?;
        Ok(path)
    }
}

/// What dpkg knows of it.
fn control(files: &[File], version: &str, architecture: &str) -> String {
    let kib: usize = files
        .iter()
        .map(|file| file.data.len().div_ceil(1024))
        .sum();
    let mut text = format!(
        "Package: observer\nVersion: {version}\nArchitecture: {architecture}\n\
         Maintainer: {MAINTAINER}\nInstalled-Size: {kib}\nDepends: passwd\n\
         Section: admin\nPriority: optional\nDescription: {SUMMARY}\n"
    );
    for line in DESCRIPTION {
        let _ = writeln!(text, " {line}");
    }
    text
}

fn copyright() -> String {
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
     Upstream-Name: Observer\n\n\
     Files: *\nCopyright: Observer's contributors\nLicense: Apache-2.0 or Expat\n\n\
     License: Apache-2.0 or Expat\n \
     LICENSE-APACHE and LICENSE-MIT in this folder; those of all that is linked into the\n \
     program are in LICENSES-OF-OTHERS.\n"
        .to_owned()
}
