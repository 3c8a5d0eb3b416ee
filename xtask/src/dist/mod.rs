//! `cargo xtask dist`: what users install. One static binary, and around it an
//! archive, Debian's and RPM's packages, a container image, checksums and a bill of
//! materials, all of the same files ([`contents`]).
//!
//! The same sources make the same bytes: times are the last commit's (or
//! `SOURCE_DATE_EPOCH`), owners root, orders fixed, and no path of this machine gets
//! into the binary.

mod archive;
mod binary;
mod bom;
mod check;
mod contents;
mod crates;
mod epoch;
mod image;
mod licences;
mod packages;
mod target;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use binary::Binary;
use contents::Contents;
use epoch::Epoch;
use packages::Packer;
use target::Target;

pub use check::{RootOptions, as_root as check_as_root};

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
pub struct Options {
    /// What to build for; may be repeated.
    #[arg(long, value_enum, default_value = target::DEFAULT)]
    target: Vec<Target>,
    /// Pack this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Pack the development build, into target/dist-rehearsal: minutes less, and nothing
    /// to hand out.
    #[arg(long, conflicts_with_all = ["target", "binary"])]
    rehearse: bool,
    /// Then install, start, upgrade and remove what was made, in systems of their own.
    #[arg(long)]
    test: bool,
    /// With --test: only checks whose name contains this.
    #[arg(long, requires = "test")]
    filter: Option<String>,
}

/// The version of what is packed, which all of the workspace has.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Largest binary that is let out, in bytes.
const MAX_BINARY: u64 = 25 * 1024 * 1024;

/// Builds and packs for each target.
pub fn main(options: &Options) -> anyhow::Result<()> {
    if options.test {
        check::prepare()?;
    }
    let epoch = Epoch::of_sources()?;
    let name = if options.rehearse {
        "dist-rehearsal"
    } else {
        "dist"
    };
    let out = crate::target_dir().join(name);
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    if options.binary.is_some() && options.target.len() != 1 {
        bail!("--binary is for one --target");
    }
    let mut made = Vec::new();
    let mut to_check = None;
    for target in &options.target {
        let contents = contents(*target, &binary(options, *target, epoch)?, epoch)?;
        let packer = Packer::new(&contents, *target, epoch);
        let packed = pack(*target, &contents, &packer, epoch, &out)?;
        if options.test && target.runs_here() {
            to_check = Some(later(&packed, &packer, options.rehearse)?);
        }
        made.extend(packed.all());
    }
    made.push(checksums(&out, &made)?);
    for path in made {
        println!("{}", path.display());
    }
    match to_check {
        Some(made) => check::start(&made, options.filter.as_deref()),
        None if options.test => bail!("nothing was made that this machine can run"),
        None => Ok(()),
    }
}

/// The daemon that is packed.
fn binary(options: &Options, target: Target, epoch: Epoch) -> anyhow::Result<Binary> {
    if options.rehearse {
        return Binary::of_development();
    }
    let binary = match &options.binary {
        Some(path) => Binary::read(path)?,
        None => Binary::build(target, epoch)?,
    };
    binary.ensure_releasable(target)?;
    Ok(binary)
}

/// What users of a target get.
fn contents(target: Target, binary: &Binary, epoch: Epoch) -> anyhow::Result<Contents> {
    let linked = crates::linked(target)?;
    let bom = bom::of(&linked, target, binary, epoch)?;
    Contents::gather(binary, &bom, &licences::of(&linked)?)
}

/// What is made for a target: where it lies.
struct Packed {
    archive: PathBuf,
    image: PathBuf,
    deb: PathBuf,
    rpm: PathBuf,
}

impl Packed {
    fn all(self) -> [PathBuf; 4] {
        [self.archive, self.image, self.deb, self.rpm]
    }
}

/// Makes all that is made for a target.
fn pack(
    target: Target,
    contents: &Contents,
    packer: &Packer,
    epoch: Epoch,
    out: &Path,
) -> anyhow::Result<Packed> {
    let name = format!("observer-{VERSION}-{}", target.triple());
    let archive = archive::gzip(&archive::tar(&contents.archive(&name), epoch)?)?;
    let image = image::of(contents, target, epoch)?;
    Ok(Packed {
        archive: write(out, &format!("{name}.tar.gz"), &archive)?,
        image: write(out, &format!("{name}.oci.tar"), &image)?,
        deb: packer.deb(1, out)?,
        rpm: packer.rpm(1, out)?,
    })
}

/// What is checked: that, and the packages of a later revision. Fails if the same
/// packages, made again, have other bytes.
fn later(packed: &Packed, packer: &Packer, is_rehearsal: bool) -> anyhow::Result<check::Made> {
    let folder = crate::target_dir().join("dist-later");
    std::fs::create_dir_all(&folder).context("cannot make target/dist-later")?;
    // Laid out anew, at another time: the bytes must be the same all the same.
    for (path, again) in [
        (&packed.deb, packer.deb(1, &folder)?),
        (&packed.rpm, packer.rpm(1, &folder)?),
    ] {
        if std::fs::read(path)? != std::fs::read(&again)? {
            bail!("{} and {} differ", path.display(), again.display());
        }
    }
    Ok(check::Made {
        deb: [packed.deb.clone(), packer.deb(2, &folder)?],
        rpm: [packed.rpm.clone(), packer.rpm(2, &folder)?],
        archive: packed.archive.clone(),
        image: packed.image.clone(),
        is_rehearsal,
    })
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
fn checksums(out: &Path, made: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let mut lines = Vec::new();
    for path in made {
        let data =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(out).unwrap_or(path);
        lines.push(format!(
            "{}  {}\n",
            hex(&Sha256::digest(data)),
            name.display()
        ));
    }
    lines.sort_unstable_by(|a, b| a[64..].cmp(&b[64..]));
    write(out, "SHA256SUMS", lines.concat().as_bytes())
}

fn write(folder: &Path, name: &str, data: &[u8]) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, data).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// As `sha256sum` prints it.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
