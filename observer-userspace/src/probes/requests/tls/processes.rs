//! From processes to the files that they have mapped as code.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::attach::{Attachment, Programs};
use super::files::{FileKey, Files, Found, Outcome};
use super::system;
use crate::stacks::images::parse_maps_line;
use crate::stacks::roots::{Roots, open_regular};

/// The host's first process, whose root directory is the host's.
const INIT: u32 = 1;
const HOST_ROOT: &str = "/proc/1/root";

/// The most that is read of a process's mappings, in bytes.
const MAX_MAPS: u64 = 8 << 20;

/// Mappings remembered by device and inode number.
const MAX_MAPPINGS: usize = 16_384;

/// How long such a pair is taken for the same file: numbers are used again.
const BELIEVED: Duration = Duration::from_secs(300);

/// Device (major, minor) and inode as `/proc/PID/maps` has them.
type Mapping = (u32, u32, u64);

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
    /// Times that a file found no room.
    pub full: u64,
}

/// Looks at processes and attaches what it finds.
pub struct Processes {
    programs: Programs,
    files: Files<Attachment>,
    mappings: HashMap<Mapping, Known>,
    hasher: RandomState,
    /// Device of the host's root directory: what is there may stay attached.
    host: Option<u64>,
    figures: Figures,
}

impl Processes {
    /// Nothing looked at yet; at most `limit` files are attached at once.
    pub fn new(programs: Programs, limit: usize) -> Self {
        Self {
            programs,
            files: Files::new(limit),
            mappings: HashMap::new(),
            hasher: RandomState::new(),
            host: fs::metadata(HOST_ROOT).ok().map(|m| m.dev()),
            figures: Figures::default(),
        }
    }

    /// How it stands.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Attaches the host's own libraries, used or not.
    pub fn attach_system(&mut self) {
        let root = Roots::now(INIT);
        for path in system::libraries(Path::new(HOST_ROOT)) {
            if let Some(file) = root.open(&path) {
                let home = PathBuf::from(format!("{HOST_ROOT}{path}"));
                self.consider(&file, || Found {
                    path,
                    home: Some(home),
                });
            }
        }
    }

    /// Looks at every process.
    pub fn scan(&mut self, stop: impl Fn() -> bool) {
        self.files.begin_scan();
        let Ok(entries) = fs::read_dir("/proc") else {
            return;
        };
        for entry in entries.flatten() {
            let pid = entry.file_name().to_str().and_then(|n| n.parse().ok());
            if let Some(pid) = pid {
                self.look(pid);
            }
            if stop() {
                return;
            }
        }
        // Also after an upgrade of the library.
        self.attach_system();
        for path in self.files.end_scan() {
            tracing::debug!("{path}: nobody uses it any more, detached");
        }
        let believed = |known: &Known| known.since.elapsed() < BELIEVED;
        self.mappings.retain(|_, known| believed(known));
    }

    /// Looks at the program that `pid` runs, which is mapped from the beginning.
    pub fn look_at_program(&mut self, pid: u32) {
        let path = format!("/proc/{pid}/exe");
        let is_known = |files: &mut Files<_>| {
            let meta = fs::metadata(&path).ok()?;
            Some(!meta.is_file() || files.saw(&FileKey::from(&meta)))
        };
        if is_known(&mut self.files) == Some(false)
            && let Some(file) = open_regular(&path)
        {
            let path = fs::read_link(&path).unwrap_or_default();
            let path = path.to_string_lossy().into_owned();
            let home = self.home(&path, &file);
            self.consider(&file, || Found { path, home });
        }
    }

    /// Looks at all code that `pid` has mapped.
    pub fn look(&mut self, pid: u32) {
        let mut maps = Vec::new();
        let read = File::open(format!("/proc/{pid}/maps"))
            .and_then(|f| f.take(MAX_MAPS).read_to_end(&mut maps));
        // Ended, or a thread of the kernel.
        if read.is_err() || maps.is_empty() {
            return;
        }
        for line in String::from_utf8_lossy(&maps).lines() {
            let Some((start, end, _, path, Some(mapping))) = parse_maps_line(line) else {
                continue;
            };
            // A memfd or shared memory is code made at run time.
            if !path.starts_with('/') || path.starts_with("/memfd:") || path.starts_with("/dev/") {
                continue;
            }
            self.look_at_mapping(pid, (start, end), &path, mapping);
        }
    }

    fn look_at_mapping(&mut self, pid: u32, (start, end): (u64, u64), path: &str, at: Mapping) {
        let hash = self.hasher.hash_one(path);
        if let Some(known) = self.mappings.get(&at)
            && known.path == hash
            && known.since.elapsed() < BELIEVED
            && self.files.saw(&known.key)
        {
            return;
        }
        // The mapped file itself, also when it was deleted; it takes
        // CAP_SYS_ADMIN (or CAP_CHECKPOINT_RESTORE since 5.9).
        let file = open_regular(&format!("/proc/{pid}/map_files/{start:x}-{end:x}"))
            .or_else(|| Roots::now(pid).open(path));
        let Some(file) = file else { return };
        let home = self.home(path, &file);
        let Some(key) = self.consider(&file, || Found {
            path: path.to_owned(),
            home,
        }) else {
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
        self.mappings.insert(at, known);
    }

    /// Where on the host's own file system `file` is.
    fn home(&self, path: &str, file: &File) -> Option<PathBuf> {
        let is_host = file.metadata().ok().map(|m| m.dev()) == self.host;
        is_host.then(|| PathBuf::from(format!("{HOST_ROOT}{path}")))
    }

    /// Attaches the file if it is a library that isn't attached yet. `None` if
    /// it can't be told from others, or there is no room for it now.
    fn consider(&mut self, file: &File, found: impl FnOnce() -> Found) -> Option<FileKey> {
        let key = FileKey::of(file)?;
        if self.files.saw(&key) {
            return Some(key);
        }
        let mut path = String::new();
        let found = || {
            let found = found();
            path.clone_from(&found.path);
            found
        };
        let attach = |points: &[_]| Attachment::new(&self.programs, file, points);
        match self.files.examine(key, file, found, attach) {
            Some(Outcome::Full) => {
                self.figures.full += 1;
                return None;
            }
            Some(Outcome::Attached) => tracing::debug!("{path}: TLS is observed"),
            Some(Outcome::Failed(error)) => {
                self.figures.failed += 1;
                tracing::warn!(probe = "requests", "{path}: TLS is not observed: {error}");
            }
            None => {}
        }
        Some(key)
    }
}
