//! Files that are there whole or not at all, and never where somebody else would
//! have them.
//!
//! Who writes here is root, mostly, and the folder may be anybody's (`/tmp`): another
//! user may put a link, a pipe or a file of their own where the file is to be. So what is
//! written is a new file under a name that nobody knows (`O_EXCL`), in the folder as it
//! was opened; it takes its name by a rename, which replaces a name and follows no link,
//! and only when it is complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat};
use nix::unistd::{AccessFlags, Uid, UnlinkatFlags, faccessat, unlinkat};

/// Names tried before the folder is given up.
const TRIES: usize = 8;

/// Who may read and write a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner only.
    Owner,
    /// As the process's umask says.
    Usual,
    /// These permissions, whatever the umask.
    Mode(u32),
}

impl Access {
    fn at_creation(self) -> Mode {
        match self {
            Self::Usual => Mode::from_bits_truncate(0o666),
            // What is asked for comes when the file is whole.
            Self::Owner | Self::Mode(_) => Mode::from_bits_truncate(0o600),
        }
    }
}

/// What bears the name as yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Present {
    Nothing,
    /// A file of ours, to be replaced.
    Ours,
}

/// A place for a file: a folder, opened once, and a name in it.
#[derive(Debug)]
pub struct Place {
    folder: File,
    name: OsString,
    path: PathBuf,
}

impl Place {
    /// The place that `path` names.
    ///
    /// # Errors
    /// In one line, when there is no such folder, or the path names no file.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let name = path.file_name();
        let Some(name) = name.filter(|_| !path.as_os_str().as_encoded_bytes().ends_with(b"/"))
        else {
            bail!("can't write {shown}: it names a folder");
        };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let opened = File::options()
            .read(true)
            .custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).bits())
            .open(folder);
        let opened = opened.with_context(|| {
            let folder = folder.display();
            format!("can't write {shown}: there is no folder {folder}")
        })?;
        Ok(Self {
            folder: opened,
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }

    /// Whether a file may be written here: early, before there is anything to write.
    ///
    /// # Errors
    /// In one line, when the folder may not be written, or what bears the name isn't a
    /// file of ours.
    pub fn check(&self) -> Result<()> {
        self.present()?;
        let here = OsStr::new(".");
        faccessat(&self.folder, here, AccessFlags::W_OK, AtFlags::AT_EACCESS)
            .with_context(|| format!("can't write {}", self.path.display()))
    }

    /// Writes a file here, which replaces one of ours; on failure everything is as before.
    ///
    /// # Errors
    /// As [`Self::check`], and when `write` fails or the disk is full.
    pub fn write(
        &self,
        access: Access,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let shown = self.path.display();
        let present = self.present()?;
        let (file, unnamed) = self
            .create(access)
            .with_context(|| format!("can't write {shown}"))?;
        let filled = (|| {
            let mut out = BufWriter::new(&file);
            write(&mut out)?;
            out.flush()?;
            drop(out);
            if let Access::Mode(mode) = access {
                fchmod(&file, Mode::from_bits_truncate(mode))?;
            }
            // Some file systems say only now that there is no room.
            file.sync_all()
        })();
        filled.with_context(|| format!("can't write {shown}: nothing was kept of it"))?;
        unnamed.name(present)
    }

    /// What bears the name.
    fn present(&self) -> Result<Present> {
        let shown = self.path.display();
        let status = match fstatat(&self.folder, &*self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => status,
            Err(Errno::ENOENT) => return Ok(Present::Nothing),
            Err(error) => return Err(error).context(format!("can't write {shown}")),
        };
        match kind(&status) {
            SFlag::S_IFREG => {}
            SFlag::S_IFLNK => bail!(
                "can't write {shown}: it is a symbolic link, which is not followed; name the file itself, or remove the link"
            ),
            SFlag::S_IFDIR => bail!("can't write {shown}: it is a folder"),
            SFlag::S_IFIFO => {
                bail!("can't write {shown}: it is a pipe; use `-o - > {shown}` to write into it")
            }
            _ => bail!("can't write {shown}: it is a device or a socket; name a file"),
        }
        let (owner, us) = (Uid::from_raw(status.st_uid), Uid::effective());
        ensure!(
            owner == us,
            "can't write {shown}: the file there belongs to another user (uid {owner}, not {us}); remove it, or use another name"
        );
        Ok(Present::Ours)
    }

    /// A new file under a name that nobody knows.
    fn create(&self, access: Access) -> io::Result<(File, Unnamed<'_>)> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mut tries = 0;
        loop {
            let name = OsString::from(format!(".observer-{:016x}.tmp", fastrand::u64(..)));
            match openat(&self.folder, &*name, flags, access.at_creation()) {
                Ok(file) => {
                    let place = self;
                    return Ok((
                        File::from(file),
                        Unnamed {
                            place,
                            name: Some(name),
                        },
                    ));
                }
                Err(Errno::EEXIST) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A file that hasn't its name yet, and is removed unless it gets it.
struct Unnamed<'a> {
    place: &'a Place,
    /// Its name until then.
    name: Option<OsString>,
}

impl Unnamed<'_> {
    fn name(mut self, present: Present) -> Result<()> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        let Place {
            folder,
            name: final_name,
            path,
        } = self.place;
        let (at, flags) = (folder.as_fd(), RenameFlags::RENAME_NOREPLACE);
        let renamed = match present {
            Present::Ours => renameat(at, &**name, at, &**final_name),
            Present::Nothing => match renameat2(at, &**name, at, &**final_name, flags) {
                // Not every file system can tell.
                Err(Errno::EINVAL) => self
                    .place
                    .present()
                    .map_err(|_| Errno::EEXIST)
                    .and_then(|_| renameat(at, &**name, at, &**final_name)),
                other => other,
            },
        };
        renamed.with_context(|| format!("can't write {}", path.display()))?;
        self.name = None;
        Ok(())
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // It is ours alone; if it can't be removed there is nothing else to try.
            let _ = unlinkat(&self.place.folder, &**name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    fn write(path: &Path, access: Access, text: &str) -> Result<()> {
        let place = Place::open(path)?;
        place.check()?;
        place.write(access, |out| out.write_all(text.as_bytes()))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let name = |e: io::Result<std::fs::DirEntry>| e.expect("an entry").file_name();
        let mut names: Vec<String> = entries
            .map(|e| name(e).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Checks that a file of ours is replaced as a whole, by another inode and with the
    /// permissions asked for, and that nothing else is left in the folder.
    #[test]
    fn files_are_new() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p.folded");
        write(&path, Access::Owner, "one").expect("written");
        let first = std::fs::metadata(&path).expect("there");
        assert_eq!(first.permissions().mode() & 0o7777, 0o600);
        let kept = File::open(&path).expect("readable");
        write(&path, Access::Mode(0o640), "two").expect("written");
        let second = std::fs::metadata(&path).expect("there");
        assert_eq!(second.permissions().mode() & 0o7777, 0o640);
        assert_ne!(first.ino(), second.ino());
        assert_eq!(io::read_to_string(kept).expect("text"), "one");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "two");
        assert_eq!(names(folder.path()), ["p.folded"]);
    }

    /// Checks that links, dangling or not, pipes and folders are refused, and left as
    /// they were.
    #[test]
    fn only_files_are_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("victim"), "secret").expect("written");
        symlink(at("victim"), at("link.svg")).expect("a link");
        symlink(at("nowhere"), at("dangling.svg")).expect("a link");
        nix::unistd::mkfifo(&at("pipe.svg"), Mode::from_bits_truncate(0o600)).expect("a pipe");
        std::fs::create_dir(at("folder.svg")).expect("a folder");
        let before = names(folder.path());
        for (name, why) in [
            ("link.svg", "symbolic link"),
            ("dangling.svg", "symbolic link"),
            ("pipe.svg", "pipe"),
            ("folder.svg", "folder"),
            ("nowhere/x.svg", "no folder"),
        ] {
            let error = write(&at(name), Access::Usual, "profile").expect_err(name);
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
        assert_eq!(
            std::fs::read_to_string(at("victim")).expect("text"),
            "secret"
        );
        assert_eq!(names(folder.path()), before);
    }

    /// Checks that nothing is left of what couldn't be written, and that the file from
    /// before is still there; and that what turns up in the meantime isn't replaced.
    #[test]
    fn all_or_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p.svg");
        write(&path, Access::Usual, "old").expect("written");
        let place = Place::open(&path).expect("a place");
        let full = |out: &mut dyn Write| {
            out.write_all(&[b'x'; 100_000])?;
            Err(Errno::ENOSPC.into())
        };
        let error = place.write(Access::Usual, full).expect_err("no room");
        assert!(format!("{error:#}").contains("No space left"), "{error:#}");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "old");
        assert_eq!(names(folder.path()), ["p.svg"]);

        let other = folder.path().join("q.svg");
        let place = Place::open(&other).expect("a place");
        let raced = |_: &mut dyn Write| symlink(&path, &other);
        let error = place.write(Access::Usual, raced).expect_err("taken");
        assert!(format!("{error:#}").contains("exists"), "{error:#}");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "old");
        assert_eq!(names(folder.path()), ["p.svg", "q.svg"]);
    }
}
