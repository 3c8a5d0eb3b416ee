//! Which files are TLS libraries, and those that are attached.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::key::{Code, FileKey};
use super::library::Point;
use crate::foreign::Tenant;

/// Files known not to be TLS libraries; then they are looked at again.
const MAX_OTHERS: usize = 16_384;

/// One tenant's part of all files that may be attached: one in so many.
const SHARE: usize = 4;

/// Scans of all processes after which a file that none of them has mapped is
/// let go.
const UNSEEN_SCANS: u64 = 2;

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
    tenant: Tenant,
    /// See [`FileKey`].
    mount: u64,
    /// `None` if it couldn't be attached.
    attachment: Option<A>,
    /// The scan that saw it last.
    seen: u64,
}

/// All files that were looked at. `A` is what keeps one attached.
pub struct Files<A> {
    libraries: HashMap<Code, Library<A>>,
    /// Known to be none.
    others: HashSet<FileKey>,
    /// Libraries that found no room, which was said.
    left_out: HashSet<FileKey>,
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
    /// There is no room for it, which wasn't said before: so many may be attached,
    /// altogether or by its tenant.
    Full {
        /// That many.
        most: usize,
        /// Whether others might find room.
        of_tenant: bool,
    },
    /// There still is none.
    StillFull,
    /// It can't be attached, for this reason.
    Failed(String),
}

impl<A> Files<A> {
    /// None yet; at most `limit` are attached at once.
    pub fn new(limit: usize) -> Self {
        Self {
            libraries: HashMap::new(),
            others: HashSet::new(),
            left_out: HashSet::new(),
            gone: Vec::new(),
            scan: 0,
            limit,
        }
    }

    /// Whether a file was looked at before; if it is a library, somebody uses it.
    pub fn saw(&mut self, key: &FileKey) -> bool {
        // What is attached keeps its file system, so that its device's number is no
        // other's.
        let library = self.libraries.get_mut(&key.code);
        if let Some(library) = library.filter(|l| l.attachment.is_some() || l.mount == key.mount) {
            library.seen = self.scan;
            return true;
        }
        self.others.contains(key)
    }

    /// Takes a file that isn't known, and attaches it by `attach` if it is a TLS
    /// library: if it has these functions. `None` if it is none.
    pub(crate) fn examine(
        &mut self,
        key: FileKey,
        functions: &[Point],
        tenant: Tenant,
        found: impl FnOnce() -> Found,
        attach: impl FnOnce(&[Point]) -> anyhow::Result<A>,
    ) -> Option<Outcome> {
        if functions.is_empty() {
            if self.others.len() >= MAX_OTHERS {
                self.others.clear();
            }
            self.others.insert(key);
            return None;
        }
        if let Some(full) = self.find_room(&key, tenant) {
            return Some(full);
        }
        let (attachment, outcome) = match attach(functions) {
            Ok(attachment) => (Some(attachment), Outcome::Attached),
            Err(error) => (None, Outcome::Failed(format!("{error:#}"))),
        };
        let library = Library {
            found: found(),
            tenant,
            mount: key.mount,
            attachment,
            seen: self.scan,
        };
        self.libraries.insert(key.code, library);
        Some(outcome)
    }

    /// Makes room for one more file of a tenant; else says why there is none.
    fn find_room(&mut self, key: &FileKey, tenant: Tenant) -> Option<Outcome> {
        let share = (self.limit / SHARE).max(1);
        let theirs = |library: &Library<A>| library.tenant == tenant;
        let has = self.libraries.values().filter(|l| theirs(l)).count();
        let of_tenant = tenant != Tenant::Host && has >= share;
        let is_full = self.libraries.len() >= self.limit;
        let has_room = match of_tenant {
            true => self.make_room(theirs),
            false => !is_full || self.make_room(|_| true),
        };
        if has_room {
            self.left_out.remove(key);
            return None;
        }
        if self.left_out.len() >= MAX_OTHERS {
            self.left_out.clear();
        }
        let most = if of_tenant { share } else { self.limit };
        Some(match self.left_out.insert(*key) {
            true => Outcome::Full { most, of_tenant },
            false => Outcome::StillFull,
        })
    }

    /// Lets the file go, of these, that wasn't seen for the longest time, if there is one
    /// that isn't in use.
    fn make_room(&mut self, of: impl Fn(&Library<A>) -> bool) -> bool {
        let unused = self
            .libraries
            .iter()
            .filter(|(_, l)| l.seen < self.scan && of(l));
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
    pub fn end_scan(&mut self, is_at_home: impl Fn(Code, &Path) -> bool) -> Vec<String> {
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
    use std::fs::File;
    use std::io::Write as _;
    use std::rc::Rc;

    use super::super::library::functions_of;
    use super::*;
    use crate::foreign::{self, Subject};

    const FULL: Outcome = Outcome::Full {
        most: 1,
        of_tenant: false,
    };

    fn key_of(file: &File) -> FileKey {
        let file = file.try_clone().expect("a descriptor");
        let key = foreign::ask(Subject::Threads, foreign::A_WHILE, move |foreign| {
            FileKey::of(foreign, &file, None)
        });
        key.expect("an answer").expect("a key")
    }

    fn is_at_home(code: Code, home: &Path) -> bool {
        File::open(home).is_ok_and(|file| key_of(&file).code == code)
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
        let key = key_of(&file);
        let live = Rc::new(Cell::new(0));
        for at_home in [false, true] {
            let mut files = Files::new(1);
            assert!(!files.saw(&key));
            let found = || Found {
                path: "libssl.so".to_owned(),
                home: at_home.then(|| path.clone()),
            };
            let functions = functions_of(&file);
            let outcome = files.examine(key, &functions, Tenant::Host, found, |_| {
                Ok(Counted::new(&live))
            });
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
        let key = key_of(&other);
        let mut files: Files<()> = Files::new(1);
        let found = || unreachable!("it is no library");
        assert_eq!(
            files.examine(key, &functions_of(&other), Tenant::Host, found, |_| Ok(())),
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
            files.examine(
                key_of(&file),
                &functions_of(&file),
                Tenant::Host,
                found,
                |_| Ok(Counted::new(&live)),
            )
        };
        assert_eq!(offer(&mut files, "one.so"), Some(Outcome::Attached));
        assert_eq!(offer(&mut files, "two.so"), Some(FULL));
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

    /// Checks that a tenant's files find room in its share only, also when there is more,
    /// that the host's and other tenants' find the rest, and that it is said once.
    #[test]
    fn tenants_have_shares() {
        let directory = tempfile::tempdir().expect("directory");
        let mut files: Files<()> = Files::new(8);
        let mut count = 0;
        let mut offer = |files: &mut Files<()>, tenant, again: bool| {
            count += u32::from(!again);
            let name = format!("{count}.so");
            let path = match again {
                true => directory.path().join(&name),
                false => library(directory.path(), &name),
            };
            let file = File::open(path).expect("library");
            let found = || Found {
                path: name.clone(),
                home: None,
            };
            let functions = functions_of(&file);
            files.examine(key_of(&file), &functions, tenant, found, |_| Ok(()))
        };
        let (one, other) = (Tenant::User(1000), Tenant::Container(7));
        let full = Outcome::Full {
            most: 2,
            of_tenant: true,
        };
        for tenant in [one, one, Tenant::Host, Tenant::Host, Tenant::Host, other] {
            let outcome = offer(&mut files, tenant, false);
            assert_eq!(outcome, Some(Outcome::Attached), "{tenant:?}");
        }
        assert_eq!(offer(&mut files, one, false), Some(full));
        assert_eq!(offer(&mut files, one, true), Some(Outcome::StillFull));
        assert_eq!(offer(&mut files, other, false), Some(Outcome::Attached));
        files.begin_scan();
        assert_eq!(offer(&mut files, one, false), Some(Outcome::Attached));
        let of_one = files.libraries.values().filter(|l| l.tenant == one);
        assert_eq!(of_one.count(), 2);
        assert_eq!(files.libraries.len(), 7);
    }
}
