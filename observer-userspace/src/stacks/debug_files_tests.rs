//! Checks that debug files are found where links and build ids say, and that
//! links which are no links, or lead to another program's file, find nothing.

use std::fs;
use std::path::PathBuf;

use super::*;

/// A file with these sections and nothing else: ELF, 64 bits.
fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
    const HEADER: usize = 64;
    /// `SHT_PROGBITS`, `SHT_STRTAB`, `SHT_NOTE`.
    const KINDS: [u32; 3] = [1, 3, 7];
    let mut names = vec![0];
    let mut contents = Vec::new();
    let mut table = vec![0; 64];
    let mut section = |name: &str, kind: u32, at: usize, size: usize, names: &mut Vec<u8>| {
        table.extend((names.len() as u32).to_le_bytes());
        table.extend(kind.to_le_bytes());
        for word in [0, 0, at as u64, size as u64] {
            table.extend(word.to_le_bytes());
        }
        table.resize(table.len() + 64 - 40, 0);
        names.extend(name.as_bytes());
        names.push(0);
    };
    for (name, content) in sections {
        let kind = KINDS[usize::from(name.starts_with(".note")) * 2];
        section(
            name,
            kind,
            HEADER + contents.len(),
            content.len(),
            &mut names,
        );
        contents.extend(*content);
    }
    let names_at = HEADER + contents.len();
    let length = names.len() + ".shstrtab\0".len();
    section(".shstrtab", KINDS[1], names_at, length, &mut names);
    let mut file = vec![0; HEADER];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let table_at = (names_at + names.len()) as u64;
    file[40..48].copy_from_slice(&table_at.to_le_bytes());
    file[58..60].copy_from_slice(&64_u16.to_le_bytes());
    let count = table.len() / 64;
    file[60..62].copy_from_slice(&(count as u16).to_le_bytes());
    file[62..64].copy_from_slice(&(count as u16 - 1).to_le_bytes());
    [file, contents, names, table].concat()
}

/// The contents of `.note.gnu.build-id`.
fn build_id_note(id: &[u8]) -> Vec<u8> {
    let lengths = [4, id.len() as u32, 3].map(u32::to_le_bytes).concat();
    let mut note = [&lengths[..], b"GNU\0", id].concat();
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// The contents of `.gnu_debuglink`.
fn link(name: &str, sum: u32) -> Vec<u8> {
    let mut link = name.as_bytes().to_vec();
    link.resize((link.len() + 1).next_multiple_of(4), 0);
    link.extend(sum.to_le_bytes());
    link
}

fn sum_of(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// A root directory with files in it.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn put(&self, path: &str, contents: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, contents).expect("written");
    }

    /// Where the debug file of the program at `path` is found.
    fn find(&self, path: &str) -> Option<String> {
        let roots = Roots::at(self.0.path().to_str().expect("UTF-8"));
        let file = File::open(self.path(path)).expect("the program");
        let sections = Sections::read(&file).expect("readable");
        let build_id = sections.build_id(&file);
        find(&roots, path, &file, &sections, build_id.as_deref()).map(|found| found.path)
    }
}

/// Checks links with names of every padding: as they are, longer than they need
/// be, and cut short anywhere.
#[test]
fn links() {
    for length in 1..=9 {
        let name = "x".repeat(length);
        let mut bytes = link(&name, 0x1234_5678);
        let whole = bytes.len();
        assert_eq!(parse_link(&bytes), Some((name.as_str(), 0x1234_5678)));
        bytes.extend(b"more");
        assert_eq!(parse_link(&bytes), Some((name.as_str(), 0x1234_5678)));
        for cut in 0..whole {
            assert_eq!(parse_link(&bytes[..cut]), None, "{length}: {cut} bytes");
        }
    }
}

/// Checks names that could lead elsewhere, or that are no names.
#[test]
fn names_that_lead_elsewhere() {
    for name in ["", "/etc/passwd", "../x", "a/b"] {
        assert_eq!(parse_link(&link(name, 1)), None, "{name}");
    }
    assert_eq!(parse_link(b"\xff\xfe\0\0\x01\0\0\0"), None);
    assert_eq!(parse_link(&[b'x'; 64]), None, "no end");
    assert_eq!(parse_alternate_link(&[b'x'; 64]), None, "no end");
    assert_eq!(parse_alternate_link(b"\xff\0\x01\x02"), None);
}

/// Checks build ids of every length in links to supplementary files: those too
/// short to have a folder and a name are none.
#[test]
fn alternate_links() {
    for length in 0..=20_u8 {
        let id: Vec<u8> = (1..=length).collect();
        let bytes = [b"common.debug\0", id.as_slice()].concat();
        let expected = (length >= 2).then(|| ("common.debug", hex(&id)));
        assert_eq!(parse_alternate_link(&bytes), expected, "{length} bytes");
    }
    let place = by_build_id("ab1");
    assert_eq!(place, "/usr/lib/debug/.build-id/ab/1.debug");
}

/// Checks checksums against the one that the standard gives, and over more than
/// one piece of a file.
#[test]
fn checksums() {
    let folder = Root::new();
    folder.put("check", b"123456789");
    let of = |path: &str| checksum(&File::open(folder.path(path)).expect("there"));
    assert_eq!(of("check"), Some(0xcbf4_3926));
    folder.put("empty", b"");
    assert_eq!(of("empty"), Some(0));
    let long: Vec<u8> = (0..300_001_u32).map(|n| (n * 7) as u8).collect();
    folder.put("long", &long);
    assert_eq!(of("long"), Some(sum_of(&long)));
}

/// Checks the three places of a linked file, each found only if its checksum is
/// the link's.
#[test]
fn found_by_link() {
    let debug = elf(&[(".debug_info", b"names")]);
    let program = elf(&[(".gnu_debuglink", &link("app.debug", sum_of(&debug)))]);
    let places = [
        "/opt/app.debug",
        "/opt/.debug/app.debug",
        "/usr/lib/debug/opt/app.debug",
    ];
    for place in places {
        let root = Root::new();
        root.put("/opt/app", &program);
        assert_eq!(root.find("/opt/app"), None);
        // Another version of it.
        root.put(place, &elf(&[(".debug_info", b"NAMES")]));
        assert_eq!(root.find("/opt/app"), None, "{place}");
        root.put(place, &debug);
        assert_eq!(root.find("/opt/app").as_deref(), Some(place));
        fs::rename(root.path("/opt/app"), root.path("/opt/gone")).expect("renamed");
        root.put("/opt/app (deleted)", &program);
        assert_eq!(root.find("/opt/app (deleted)").as_deref(), Some(place));
    }
}

/// Checks that build ids decide where both files have one, whatever the
/// checksum; and a file's own name leads to no file but itself.
#[test]
fn build_ids_decide() {
    let with = |id: &[u8], link: &[u8]| {
        let note = build_id_note(id);
        elf(&[(".note.gnu.build-id", &note), (".gnu_debuglink", link)])
    };
    let root = Root::new();
    let other = elf(&[(".note.gnu.build-id", &build_id_note(b"\x09\x09\x09"))]);
    root.put(
        "/app",
        &with(b"\x01\x02\x03", &link("app.debug", sum_of(&other))),
    );
    root.put("/app.debug", &other);
    assert_eq!(root.find("/app"), None, "another program's");
    root.put("/app.debug", &with(b"\x01\x02\x03", b""));
    assert_eq!(root.find("/app").as_deref(), Some("/app.debug"));

    let named = "/usr/lib/debug/.build-id/01/0203.debug";
    root.put(named, &other);
    assert_eq!(root.find("/app").as_deref(), Some("/app.debug"));
    root.put(named, &with(b"\x01\x02\x03", b""));
    assert_eq!(root.find("/app").as_deref(), Some(named));

    // Too short for a folder and a name: the link decides.
    let debug = with(b"\x05", b"");
    root.put(
        "/short",
        &with(b"\x05", &link("short.debug", sum_of(&debug))),
    );
    root.put("/short.debug", &debug);
    assert_eq!(root.find("/short").as_deref(), Some("/short.debug"));

    root.put("/own", &with(b"\x07\x07", &link("own", 0)));
    assert_eq!(root.find("/own"), None);
}

/// Checks that files which are cut short, or whose link is, find nothing and
/// end nothing.
#[test]
fn broken_files() {
    let debug = elf(&[(".debug_info", b"names")]);
    let link = link("app.debug", sum_of(&debug));
    let root = Root::new();
    root.put("/app.debug", &debug);
    for cut in 0..link.len() {
        root.put("/app", &elf(&[(".gnu_debuglink", &link[..cut])]));
        assert_eq!(root.find("/app"), None, "{cut} bytes");
    }
    let program = elf(&[(".gnu_debuglink", &link)]);
    for cut in (0..program.len()).step_by(7) {
        root.put("/app", &program[..cut]);
        assert_eq!(root.find("/app"), None, "{cut} bytes");
    }
    root.put("/app", &program);
    assert!(root.find("/app").is_some());
}

/// Checks that a supplementary file is found beside the file or by its build
/// id, and only if that is the one in the link.
#[test]
fn supplementary_files() {
    let root = Root::new();
    let link = [b"../lib/common\0", &b"\x0a\x0b\x0c"[..]].concat();
    root.put("/bin/app", &elf(&[(".gnu_debugaltlink", &link)]));
    let common = elf(&[(".note.gnu.build-id", &build_id_note(b"\x0a\x0b\x0c"))]);
    let other = elf(&[(".note.gnu.build-id", &build_id_note(b"\x0a\x0b"))]);
    let found = || {
        let roots = Roots::at(root.0.path().to_str().expect("UTF-8"));
        let file = File::open(root.path("/bin/app")).expect("the program");
        let sections = Sections::read(&file).expect("readable");
        alternate(&roots, "/bin/app", &file, &sections).map(|found| found.path)
    };
    root.put("/lib/common", &other);
    assert_eq!(found(), None);
    let by_id = "/usr/lib/debug/.build-id/0a/0b0c.debug";
    root.put(by_id, &common);
    assert_eq!(found().as_deref(), Some(by_id));
    root.put("/lib/common", &common);
    assert_eq!(found().as_deref(), Some("/bin/../lib/common"));
}
