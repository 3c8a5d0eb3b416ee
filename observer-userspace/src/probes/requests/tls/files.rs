//! Which files are TLS libraries, and those that are attached.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

use super::library::Point;

/// Files known not to be TLS libraries; then they are looked at again.
const MAX_OTHERS: usize = 16_384;

/// Scans of all processes after which a file that none of them has mapped is
/// let go.
const UNSEEN_SCANS: u64 = 2;

/// What tells files apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl FileKey {
    /// Of an open file.
    pub fn of(file: &File) -> Option<Self> {
        let mut key = Self::from(&file.metadata().ok()?);
        // Containers of one image have different overlays with the same file
        // below. Attaching it once is enough, and what is the same in both is
        // its inode's number, time and size.
        if fstatfs(file).is_ok_and(|f| f.filesystem_type() == OVERLAYFS_SUPER_MAGIC) {
            key.device = 0;
        }
        Some(key)
    }
}

impl From<&Metadata> for FileKey {
    fn from(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            size: meta.size(),
        }
    }
}

/// Where a file was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Path as whoever maps it sees it.
    pub path: String,
    /// Where on the host it is still to be found when nobody maps it; `None`
    /// if it must be let go then, since being attached keeps its mount.
    pub home: Option<PathBuf>,
}

struct Library<A> {
    found: Found,
    /// `None` if it couldn't be attached.
    attachment: Option<A>,
    /// The scan that saw it last.
    seen: u64,
}

/// All files that were looked at. `A` is what keeps one attached.
pub struct Files<A> {
    libraries: HashMap<FileKey, Library<A>>,
    /// Known to be none.
    others: HashMap<FileKey, ()>,
    /// What was let go: to be dropped where nobody waits.
    gone: Vec<A>,
    scan: u64,
    limit: usize,
}

/// What became of a file that was looked at for the first time.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was attached.
    Attached,
    /// There is no room for it.
    Full,
    /// It can't be attached, for this reason.
    Failed(String),
}

impl<A> Files<A> {
    /// None yet; at most `limit` are attached at once.
    pub fn new(limit: usize) -> Self {
        Self {
            libraries: HashMap::new(),
            others: HashMap::new(),
            gone: Vec::new(),
            scan: 0,
            limit,
        }
    }

    /// Whether a file was looked at before; if it is a library, somebody uses it.
    pub fn saw(&mut self, key: &FileKey) -> bool {
        if let Some(library) = self.libraries.get_mut(key) {
            library.seen = self.scan;
            return true;
        }
        self.others.contains_key(key)
    }

    /// Takes a file that isn't known, and attaches it by `attach` if it is a TLS
    /// library: if it has these functions. `None` if it is none.
    pub fn examine(
        &mut self,
        key: FileKey,
        functions: &[Point],
        found: impl FnOnce() -> Found,
        attach: impl FnOnce(&[Point]) -> anyhow::Result<A>,
    ) -> Option<Outcome> {
        if functions.is_empty() {
            if self.others.len() >= MAX_OTHERS {
                self.others.clear();
            }
            self.others.insert(key, ());
            return None;
        }
        if self.libraries.len() >= self.limit && !self.make_room() {
            return Some(Outcome::Full);
        }
        let (attachment, outcome) = match attach(functions) {
            Ok(attachment) => (Some(attachment), Outcome::Attached),
            Err(error) => (None, Outcome::Failed(format!("{error:#}"))),
        };
        let library = Library {
            found: found(),
            attachment,
            seen: self.scan,
        };
        self.libraries.insert(key, library);
        Some(outcome)
    }

    /// Lets the file go that wasn't seen for the longest time, if there is one
    /// that isn't in use.
    fn make_room(&mut self) -> bool {
        let unused = self.libraries.iter().filter(|(_, l)| l.seen < self.scan);
        let oldest = unused.min_by_key(|(_, l)| l.seen).map(|(key, _)| *key);
        let Some(library) = oldest.and_then(|key| self.libraries.remove(&key)) else {
            return false;
        };
        self.gone.extend(library.attachment);
        true
    }

    /// What was let go since the last time.
    pub fn gone(&mut self) -> Vec<A> {
        std::mem::take(&mut self.gone)
    }

    /// A scan of all processes begins.
    pub fn begin_scan(&mut self) {
        self.scan += 1;
    }

    /// It ended: lets go what nobody has mapped any more, unless it waits at
    /// home, as `is_at_home` says. Returns the paths.
    pub fn end_scan(&mut self, is_at_home: impl Fn(FileKey, &Path) -> bool) -> Vec<String> {
        let (scan, mut paths) = (self.scan, Vec::new());
        for (key, mut library) in std::mem::take(&mut self.libraries) {
            let home = library.found.home.as_deref();
            let is_at_home = |home| is_at_home(key, home);
            if library.seen + UNSEEN_SCANS > scan || home.is_some_and(is_at_home) {
                self.libraries.insert(key, library);
            } else {
                self.gone.extend(library.attachment.take());
                paths.push(library.found.path);
            }
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write as _;
    use std::rc::Rc;

    use super::super::library::functions_of;
    use super::*;

    fn is_at_home(key: FileKey, home: &Path) -> bool {
        File::open(home).is_ok_and(|file| FileKey::of(&file) == Some(key))
    }

    /// Counts how many of it there are.
    struct Counted(Rc<Cell<usize>>);

    impl Counted {
        fn new(count: &Rc<Cell<usize>>) -> Self {
            count.set(count.get() + 1);
            Self(Rc::clone(count))
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    fn library(directory: &Path, name: &str) -> PathBuf {
        let source = directory.join("library.c");
        let code = "int SSL_read(void){return 0;} int SSL_write(void){return 1;}";
        std::fs::write(&source, code).expect("source");
        let out = directory.join(name);
        let mut command = std::process::Command::new("cc");
        command.args(["-shared", "-o"]).arg(&out).arg(&source);
        assert!(command.status().expect("a C compiler").success());
        out
    }

    /// Checks that a library is attached once, let go when two scans didn't see
    /// it, kept as long as it is at home, and that other files stay known.
    #[test]
    fn life_of_a_library() {
        let directory = tempfile::tempdir().expect("directory");
        let path = library(directory.path(), "libssl.so");
        let file = File::open(&path).expect("library");
        let key = FileKey::of(&file).expect("key");
        let live = Rc::new(Cell::new(0));
        for at_home in [false, true] {
            let mut files = Files::new(1);
            assert!(!files.saw(&key));
            let found = || Found {
                path: "libssl.so".to_owned(),
                home: at_home.then(|| path.clone()),
            };
            let functions = functions_of(&file);
            let outcome = files.examine(key, &functions, found, |_| Ok(Counted::new(&live)));
            assert_eq!(outcome, Some(Outcome::Attached));
            assert!(files.saw(&key));
            assert_eq!(live.get(), 1);
            files.begin_scan();
            assert!(files.end_scan(is_at_home).is_empty());
            files.begin_scan();
            assert_eq!(files.end_scan(is_at_home).len(), usize::from(!at_home));
            assert_eq!(files.gone().len(), usize::from(!at_home));
            assert_eq!(live.get(), usize::from(at_home));
        }
        let mut other = tempfile::tempfile().expect("file");
        other.write_all(b"nothing").expect("written");
        let key = FileKey::of(&other).expect("key");
        let mut files: Files<()> = Files::new(1);
        let found = || unreachable!("it is no library");
        assert_eq!(
            files.examine(key, &functions_of(&other), found, |_| Ok(())),
            None
        );
        assert!(files.saw(&key));
    }

    /// Checks that a replaced library is let go, that the limit holds, and that
    /// one in use is not pushed out.
    #[test]
    fn limit_and_replacement() {
        let directory = tempfile::tempdir().expect("directory");
        let live = Rc::new(Cell::new(0));
        let mut files = Files::new(1);
        let offer = |files: &mut Files<Counted>, name: &str| {
            let path = library(directory.path(), name);
            let file = File::open(&path).expect("library");
            let found = || Found {
                path: name.to_owned(),
                home: Some(path.clone()),
            };
            let key = FileKey::of(&file).expect("key");
            files.examine(key, &functions_of(&file), found, |_| {
                Ok(Counted::new(&live))
            })
        };
        assert_eq!(offer(&mut files, "one.so"), Some(Outcome::Attached));
        assert_eq!(offer(&mut files, "two.so"), Some(Outcome::Full));
        files.begin_scan();
        assert_eq!(offer(&mut files, "two.so"), Some(Outcome::Attached));
        drop(files.gone());
        assert_eq!(live.get(), 1);
        std::fs::remove_file(directory.path().join("two.so")).expect("removed");
        for _ in 0..2 {
            files.begin_scan();
            files.end_scan(is_at_home);
        }
        drop(files.gone());
        assert_eq!(live.get(), 0);
    }
}
