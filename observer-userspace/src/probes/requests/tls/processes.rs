//! From processes to the files that they have mapped as code. Readers look at them, and
//! attach: the kernel then takes the lock of every memory map that has the file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attach::{Attachment, Programs};
use super::files::{Files, Found, Outcome};
use super::key::{FileKey, Mapping};
use super::library::{Point, functions_of};
use super::system;
use crate::foreign::file_id::number_of_mount;
use crate::foreign::{self, Foreign, Subject, Tenant, process as of_others};
use crate::kernel::descriptors;
use crate::stacks::images::parse_maps_line;
use crate::stacks::roots::{Place, open_regular};

/// The host's first process, whose root directory is the host's.
const INIT: u32 = 1;
const HOST_ROOT: &str = "/proc/1/root";

/// The most that is read of a process's mappings, in bytes.
const MAX_MAPS: u64 = 8 << 20;

/// Mappings remembered by device and inode number.
const MAX_MAPPINGS: usize = 16_384;

/// How long attaching and detaching may take: the kernel waits for all CPUs for each
/// function.
const ATTACHING: Duration = Duration::from_secs(20);

/// How long such a pair is taken for the same file: numbers are used again.
const BELIEVED: Duration = Duration::from_secs(300);

/// Where a process's files are: two with the same have the same mounts.
type Mounts = (u64, u64, u64);

/// What is known of a mapping, so that its file need not be opened.
struct Known {
    path: u64,
    key: FileKey,
    since: Instant,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Files that could not be attached.
    pub failed: u64,
    /// Files that found no room.
    pub full: u64,
    /// Times that a file wasn't attached since a process keeps its memory map locked.
    pub held: u64,
}

/// A file that was opened.
struct Looked {
    file: File,
    key: FileKey,
    /// Its file system's, which isn't always in the key.
    device: u64,
}

impl Looked {
    fn at(foreign: &Foreign, file: File, mapped: Option<Mapping>) -> Option<Self> {
        Some(Self {
            key: FileKey::of(foreign, &file, mapped)?,
            device: file.metadata().ok()?.dev(),
            file,
        })
    }

    fn subject(&self) -> Subject {
        Subject::Device(libc::major(self.device), libc::minor(self.device))
    }
}

/// Looks at processes and attaches what it finds.
pub struct Processes {
    programs: Arc<Programs>,
    files: Files<Attachment>,
    mappings: HashMap<(Mounts, Mapping), Known>,
    hasher: RandomState,
    /// Device of the host's root directory: what is there may stay attached.
    host: Option<u64>,
    figures: Figures,
}

impl Processes {
    /// Nothing looked at yet; at most `limit` files are attached at once.
    pub fn new(programs: Programs, limit: usize) -> Self {
        Self {
            programs: Arc::new(programs),
            files: Files::new(limit),
            mappings: HashMap::new(),
            hasher: RandomState::new(),
            host: of_host(|_| fs::metadata(HOST_ROOT).ok().map(|m| m.dev())),
            figures: Figures::default(),
        }
    }

    /// How it stands.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Attaches the host's own libraries, used or not.
    pub fn attach_system(&mut self) {
        let libraries = of_host(|foreign| {
            let root = Place::Now(INIT).open(foreign);
            let paths = system::libraries(foreign, Path::new(HOST_ROOT)).into_iter();
            let looked = paths.filter_map(|path| {
                let file = root.open(&path)?;
                Some((path, Looked::at(foreign, file, None)?))
            });
            Some(looked.collect::<Vec<_>>())
        });
        for (path, looked) in libraries.into_iter().flatten() {
            let home = PathBuf::from(format!("{HOST_ROOT}{path}"));
            self.consider(INIT, looked, || Found {
                path,
                home: Some(home),
            });
        }
    }

    /// Looks at every process.
    pub fn scan(&mut self, stop: impl Fn() -> bool) {
        self.files.begin_scan();
        for pid in of_others::all() {
            self.look(pid);
            if stop() {
                return;
            }
        }
        // Also after an upgrade of the library.
        self.attach_system();
        let is_at_home = |code, home: &Path| {
            let home = home.to_owned();
            let now = of_host(move |foreign| {
                let file = File::open(home).ok()?;
                FileKey::of(foreign, &file, None)
            });
            now.is_some_and(|now| now.code == code)
        };
        for path in self.files.end_scan(is_at_home) {
            tracing::debug!("{path}: nobody uses it any more, detached");
        }
        self.let_go();
        let believed = |known: &Known| known.since.elapsed() < BELIEVED;
        self.mappings.retain(|_, known| believed(known));
    }

    /// Looks at the program that `pid` runs, which is mapped from the beginning; `false`
    /// if it ended. Most that are short have by now: no reader is needed to see that.
    pub fn look_at_program(&mut self, pid: u32) -> bool {
        let is_there = of_others::is_there(pid);
        if is_there {
            self.look_at_its_program(pid);
        }
        is_there
    }

    fn look_at_its_program(&mut self, pid: u32) {
        let subject = Subject::Root(pid);
        let program = foreign::ask(subject, foreign::A_WHILE, move |foreign| {
            let handle = of_others::program(foreign, pid)?;
            let key = FileKey::of(foreign, &handle, None)?;
            Some((handle, key))
        });
        let Some((handle, key)) = program.ok().flatten() else {
            return;
        };
        if self.files.saw(&key) {
            return;
        }
        let looked = foreign::ask(subject, foreign::A_WHILE, move |foreign| {
            Looked::at(foreign, open_regular(foreign, &handle)?, None)
        });
        if let Some(looked) = looked.ok().flatten() {
            let path = of_others::executable(pid).unwrap_or_default();
            let path = path.to_string_lossy().into_owned();
            let home = self.home(&path, &looked);
            self.consider(pid, looked, || Found { path, home });
        }
    }

    /// Looks at all code that `pid` has mapped; `false` if it ended.
    pub fn look(&mut self, pid: u32) -> bool {
        let is_there = of_others::is_there(pid);
        if is_there {
            self.look_at_mappings(pid);
        }
        is_there
    }

    fn look_at_mappings(&mut self, pid: u32) {
        let maps = foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
            of_others::maps(foreign, pid, MAX_MAPS).ok()
        });
        // Ended, or a thread of the kernel.
        let Some(maps) = maps.ok().flatten() else {
            return;
        };
        let mounts = mounts(pid);
        for line in String::from_utf8_lossy(&maps).lines() {
            let Some((start, end, _, path, Some(mapping))) = parse_maps_line(line) else {
                continue;
            };
            // A memfd or shared memory is code made at run time.
            if !path.starts_with('/') || path.starts_with("/memfd:") || path.starts_with("/dev/") {
                continue;
            }
            self.look_at_mapping((pid, mounts), (start, end), &path, mapping);
        }
    }

    fn look_at_mapping(
        &mut self,
        (pid, mounts): (u32, Option<Mounts>),
        (start, end): (u64, u64),
        path: &str,
        at: Mapping,
    ) {
        let hash = self.hasher.hash_one(path);
        let place = mounts.map(|mounts| (mounts, at));
        if let Some(known) = place.and_then(|place| self.mappings.get(&place))
            && known.path == hash
            && known.since.elapsed() < BELIEVED
            && self.files.saw(&known.key)
        {
            return;
        }
        // The mapped file itself, also when it was deleted.
        let mapped = foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
            of_others::mapped_file(foreign, pid, start, end)
        });
        let (mapped, theirs) = (mapped.ok().flatten(), path.to_owned());
        let subject = Subject::Device(at.0, at.1);
        let looked = foreign::ask(subject, foreign::A_WHILE, move |foreign| {
            let file = mapped.and_then(|handle| open_regular(foreign, &handle));
            let file = file.or_else(|| Place::Now(pid).open(foreign).open(&theirs));
            Looked::at(foreign, file?, Some(at))
        });
        let Some(looked) = looked.ok().flatten() else {
            return;
        };
        let home = self.home(path, &looked);
        let key = self.consider(pid, looked, || Found {
            path: path.to_owned(),
            home,
        });
        let Some((key, place)) = key.zip(place) else {
            return;
        };
        if self.mappings.len() >= MAX_MAPPINGS {
            self.mappings.clear();
        }
        let known = Known {
            path: hash,
            key,
            since: Instant::now(),
        };
        self.mappings.insert(place, known);
    }

    /// Where on the host's own file system `file` is.
    fn home(&self, path: &str, looked: &Looked) -> Option<PathBuf> {
        let is_host = Some(looked.device) == self.host;
        is_host.then(|| PathBuf::from(format!("{HOST_ROOT}{path}")))
    }

    /// Attaches the file if it is a library that isn't attached yet. `None` if
    /// it can't be told from others, or there is no room for it now.
    fn consider(
        &mut self,
        pid: u32,
        looked: Looked,
        found: impl FnOnce() -> Found,
    ) -> Option<FileKey> {
        let (key, subject) = (looked.key, looked.subject());
        if self.files.saw(&key) {
            return Some(key);
        }
        let file = looked.file.try_clone().ok()?;
        let functions = foreign::ask(subject, foreign::A_WHILE, move |_| functions_of(&file));
        let functions = functions.ok()?;
        if !functions.is_empty() && !all_answer() {
            self.figures.held += 1;
            return None;
        }
        let what = functions.first().map_or("TLS", Point::what);
        let found = found();
        let path = found.path.clone();
        let found = || found;
        let programs = Arc::clone(&self.programs);
        let attach = |points: &[Point]| {
            let points = points.to_vec();
            foreign::ask(subject, ATTACHING, move |_| {
                Attachment::new(&programs, &looked.file, &points)
            })?
        };
        let tenant = match functions.is_empty() {
            true => Tenant::Host,
            false => Tenant::of(pid),
        };
        let outcome = self.files.examine(key, &functions, tenant, found, attach);
        self.let_go();
        match outcome {
            Some(Outcome::Full { most, of_tenant }) => {
                self.figures.full += 1;
                foreign::refused("tls_files", tenant);
                let of = of_others::executable(pid).unwrap_or_default();
                let (of, hint) = (of.display(), descriptors::exhausted());
                let whose = match of_tenant {
                    true => "of its user or container",
                    false => "of all",
                };
                tracing::warn!(
                    probe = "requests",
                    "{path} (process {pid}, {of}): {what} is not observed: {most} files {whose} are, and {hint}"
                );
                return None;
            }
            Some(Outcome::StillFull) => return None,
            Some(Outcome::Attached) => tracing::debug!("{path}: {what} is observed"),
            Some(Outcome::Failed(error)) => {
                self.figures.failed += 1;
                tracing::warn!(
                    probe = "requests",
                    "{path}: {what} is not observed: {error}"
                );
            }
            None => {}
        }
        Some(key)
    }

    /// Detaches what was let go.
    fn let_go(&mut self) {
        let gone = self.files.gone();
        if !gone.is_empty() {
            // It is detached anyway; that it takes its time concerns nobody.
            let _ = foreign::ask(Subject::Process(INIT), ATTACHING, move |_| drop(gone));
        }
    }
}

/// Where the files of a process are: its mount namespace, and its root directory there by
/// the number of its mount, which is never used again, where the kernel has such numbers.
fn mounts(pid: u32) -> Option<Mounts> {
    let root = foreign::ask(Subject::Root(pid), foreign::A_WHILE, move |foreign| {
        let root = of_others::root(foreign, pid)?;
        let inode = of_others::root_metadata(foreign, pid)?.ino();
        Some((number_of_mount(&root).unwrap_or(0), inode))
    });
    let (mount, inode) = root.ok().flatten()?;
    Some((of_others::mount_namespace_number(pid)?, mount, inode))
}

/// Has a reader look at the host's files.
fn of_host<T: Send + 'static>(
    look: impl FnOnce(&Foreign) -> Option<T> + Send + 'static,
) -> Option<T> {
    let looked = foreign::ask(Subject::Root(INIT), foreign::A_WHILE, look);
    looked.ok().flatten()
}

/// Whether the lock of every process's memory map is to be had. The kernel waits for
/// those that have the file when it attaches, and forks of all processes wait for that.
fn all_answer() -> bool {
    of_others::all().all(|pid| {
        let locked = foreign::ask(Subject::Process(pid), foreign::SHORTLY, move |foreign| {
            // Also one that isn't ours to read had its lock taken, or has none.
            let _ = of_others::environ(foreign, pid, 1);
        });
        locked.is_ok()
    })
}
