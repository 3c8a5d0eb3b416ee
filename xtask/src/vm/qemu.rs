//! The emulator, and the server of the host's files: found, or fetched.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::{Apt, output};
use super::architecture::Architecture;

/// The oldest emulator that is trusted. 7.2, which is Debian 12's, runs a stale
/// translation of code that the kernel patches while two CPUs run it: a guest of 6.18
/// died by `int3` where the kernel had switched a jump label.
const OLDEST: u32 = 10;

/// Where Debian's packages have the server of files, and whether it is the older
/// one, with other options.
const SERVERS: &[(&str, bool)] = &[
    ("/usr/libexec/virtiofsd", false),
    ("/usr/lib/qemu/virtiofsd", true),
];

/// The emulator.
#[derive(Debug)]
pub struct Qemu {
    /// Its program.
    pub program: PathBuf,
    /// Where it finds firmware, if not where it was built for.
    pub data: Vec<PathBuf>,
}

impl Qemu {
    /// The host's, if it is new enough, else the one of its release's backports,
    /// unpacked in `folder`.
    pub fn find(apt: &Apt, architecture: &Architecture, folder: &Path) -> Result<Self> {
        let version = version(Path::new(architecture.qemu));
        if version.as_ref().is_ok_and(|version| *version >= OLDEST) {
            return Ok(Self {
                program: architecture.qemu.into(),
                data: Vec::new(),
            });
        }
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let codename = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let codename = codename.context(
            "qemu 10 or newer is needed, and where to have it from isn't known for this system",
        )?;
        let packages = [
            architecture.qemu_package,
            "qemu-system-common",
            "qemu-system-data",
        ];
        let packages = packages.map(|package| format!("{package}/{codename}-backports"));
        let unpacked = folder.join("qemu");
        apt.unpack(&packages, &unpacked)
            .context("qemu 10 or newer is needed: install it")?;
        let found = Self {
            program: unpacked.join("usr/bin").join(architecture.qemu),
            data: vec![unpacked.join("usr/share/qemu"), "/usr/share/seabios".into()],
        };
        // Its libraries are those that the host's older one is installed with.
        match self::version(&found.program)? {
            version if version >= OLDEST => Ok(found),
            version => bail!("qemu {OLDEST} or newer is needed, and there is only {version}"),
        }
    }
}

/// The first number of an emulator's version.
fn version(program: &Path) -> Result<u32> {
    let said = output(Command::new(program).arg("--version"))?;
    parse_version(&said).with_context(|| format!("{} says {said:?}", program.display()))
}

fn parse_version(said: &str) -> Option<u32> {
    let (_, rest) = said.split_once("version ")?;
    rest.split('.').next()?.parse().ok()
}

/// The server of the host's files, and whether it is the older one.
///
/// # Errors
/// When none is installed.
pub fn file_server() -> Result<(&'static Path, bool)> {
    let mut known = SERVERS
        .iter()
        .map(|&(path, older)| (Path::new(path), older));
    known.find(|(path, _)| path.is_file()).context(
        "there is no virtiofsd; `apt-get install virtiofsd` (Debian 12: qemu-system-common)",
    )
}

/// What the server is told to hand out a folder on a socket.
pub fn server_options(older: bool, socket: &Path, folder: &Path) -> Vec<String> {
    let (socket, folder) = (socket.display(), folder.display());
    let text = if older {
        format!("--socket-path={socket} -o source={folder} -o sandbox=chroot -o cache=always")
    } else {
        format!("--socket-path={socket} --shared-dir={folder} --sandbox=chroot --cache=always")
    };
    text.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks how versions are told.
    #[test]
    fn versions() {
        let debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\n";
        assert_eq!(parse_version(debian), Some(10));
        assert_eq!(parse_version("QEMU emulator version 7.2.22 (x)"), Some(7));
        assert_eq!(parse_version("something else"), None);
    }
}
