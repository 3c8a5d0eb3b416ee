//! apt with lists and a cache of its own, so that the machine's stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::mirror;
use crate::cargo::run;

/// Where this machine's apt has its settings.
const ETC_APT: &str = "/etc/apt";

/// apt, set up in a folder.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    /// Of what machine packages are, as Debian calls it.
    architecture: &'static str,
}

impl Apt {
    /// Sets it up for packages of an `architecture`, and fetches their lists if there are
    /// none yet, or if `renew` says so.
    pub fn new(folder: &Path, architecture: &'static str, renew: bool) -> Result<Self> {
        let apt = Self {
            folder: folder.to_owned(),
            architecture,
        };
        for part in ["lists/partial", "archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let list = mirror::sources(Path::new(ETC_APT))?;
        let path = folder.join("sources.list");
        let is_known = fs::read_to_string(&path).is_ok_and(|known| known == list);
        if renew || !is_known || !apt.complete().exists() {
            fs::write(&path, list).with_context(|| format!("cannot write {}", path.display()))?;
            apt.update()?;
        }
        Ok(apt)
    }

    /// There once lists were fetched.
    fn complete(&self) -> PathBuf {
        self.folder.join("complete")
    }

    /// Fetches the lists of packages.
    pub fn update(&self) -> Result<()> {
        eprintln!("fetching Debian's lists of packages");
        let complete = self.complete();
        let _ = fs::remove_file(&complete);
        let mut update = self.command("apt-get");
        run(update.args(["--quiet=2", "update"]))
            .context("cannot learn which kernels there are")?;
        fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))
    }

    /// One of apt's programs, with our lists and our cache.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = self.folder.display();
        for setting in [
            format!("Dir::Etc::SourceList={folder}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::Cache={folder}"),
            "Dir::Cache::Archives=archives".to_owned(),
            "Dir::Cache::pkgcache=pkgcache.bin".to_owned(),
            "Dir::Cache::srcpkgcache=srcpkgcache.bin".to_owned(),
            // Its user can't write to folders of ours.
            "APT::Sandbox::User=root".to_owned(),
            format!("APT::Architecture={}", self.architecture),
            format!("APT::Architectures::={}", self.architecture),
            // What is only shown to people.
            "Acquire::Languages=none".to_owned(),
        ] {
            command.arg("-o").arg(setting);
        }
        command
    }

    /// What the lists say of the packages whose names a regular expression
    /// matches: `apt-cache show`, the newest of each.
    pub fn show(&self, names: &str) -> Result<String> {
        let found = output(
            self.command("apt-cache")
                .args(["--names-only", "search", names]),
        )?;
        let found = found.lines().filter_map(|line| line.split(' ').next());
        let mut show = self.command("apt-cache");
        output(show.args(["show", "--no-all-versions"]).args(found))
    }

    /// Downloads packages with all that they depend on, and unpacks them to `folder`,
    /// which must not be there yet: the files of a system that none of their scripts has
    /// set up.
    pub fn unpack_with_dependencies(&self, packages: &[&str], folder: &Path) -> Result<()> {
        // What is installed here is nothing to it.
        let status = self.folder.join("nothing-installed");
        fs::write(&status, "").with_context(|| format!("cannot write {}", status.display()))?;
        let archives = folder.with_extension("archives");
        let _ = fs::remove_dir_all(&archives);
        let partial = archives.join("partial");
        fs::create_dir_all(&partial)
            .with_context(|| format!("cannot make {}", partial.display()))?;
        let mut download = self.command("apt-get");
        download
            .args(["-o", &format!("Dir::State::status={}", status.display())])
            .args([
                "-o",
                &format!("Dir::Cache::Archives={}", archives.display()),
            ])
            .args(["-o", "APT::Install-Recommends=false"])
            .args(["--quiet=2", "--yes", "--download-only", "install"])
            .args(packages);
        run(&mut download).with_context(|| format!("cannot fetch {}", packages.join(" ")))?;
        for entry in fs::read_dir(&archives)? {
            let deb = entry?.path();
            if deb.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg").arg("-x").arg(deb).arg(folder))?;
            }
        }
        Ok(fs::remove_dir_all(&archives)?)
    }

    /// Downloads packages (`NAME` or `NAME/SUITE`) and unpacks them to `folder`,
    /// unless that has been done.
    pub fn unpack(&self, packages: &[String], folder: &Path) -> Result<()> {
        if folder.exists() {
            return Ok(());
        }
        eprintln!("fetching {}", packages.join(" "));
        let part = folder.with_extension("part");
        let debs = part.with_extension("debs");
        for made in [&part, &debs] {
            let _ = fs::remove_dir_all(made);
            fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
        }
        let download = || {
            let mut download = self.command("apt-get");
            download.args(["--quiet=2", "download"]).args(packages);
            run(download.current_dir(&debs))
        };
        // What the lists name may have been replaced since.
        if download().is_err() {
            self.update()?;
            download().with_context(|| format!("cannot fetch {}", packages.join(" ")))?;
        }
        for deb in fs::read_dir(&debs)? {
            run(Command::new("dpkg").arg("-x").arg(deb?.path()).arg(&part))?;
        }
        fs::remove_dir_all(&debs)?;
        fs::rename(&part, folder).with_context(|| format!("cannot make {}", folder.display()))
    }
}

/// The output of a command that succeeds.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    match String::from_utf8(output.stdout) {
        Ok(text) => Ok(text),
        Err(_) => bail!("{command:?} says what isn't UTF-8"),
    }
}
