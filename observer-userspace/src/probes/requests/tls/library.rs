//! The functions of a TLS library that are observed, and where a file has them.
//!
//! OpenSSL's names, which BoringSSL and others share: a shared `libssl`, or a
//! program (node, for one) that contains the library and tells its names.

use observer_common::names::programs;
use std::fs::File;

use super::place::{Code, Out};
use observer_symbols::elf::{ElfInfo, Sections};
use observer_symbols::{go_functions, symbol_table};

/// `e_machine` of files whose calls the kernel half can read: ours.
const MACHINE: u16 = if cfg!(target_arch = "aarch64") {
    183
} else {
    62
};

/// Where names may be: what is exported, then what was left in for debuggers.
const TABLES: [&str; 2] = [".dynsym", ".symtab"];

/// A place in a file at which a program of the kernel half runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The function, as users know it.
    pub name: &'static str,
    /// The program for its call.
    pub called: &'static str,
    /// Whether [`RETURNED`] is to run at its end.
    pub returns: bool,
    /// Offset in the file.
    pub offset: u64,
}

/// The program of the kernel half that runs when one returns.
pub const RETURNED: &str = programs::TLS_RETURNED;

/// The programs that run when one is called.
pub const CALLED: [&str; 10] = [
    programs::TLS_READ,
    programs::TLS_WRITE,
    programs::TLS_READ_EX,
    programs::TLS_WRITE_EX,
    programs::TLS_WRITE_FLAGS,
    programs::TLS_HANDSHAKE,
    programs::TLS_FREE,
    programs::GO_SERVE,
    programs::GO_ROUND_TRIP,
    programs::GO_WRITE,
];

/// Most points of one file, each of which may be attached at both ends.
pub const MAX_POINTS: usize = NAMES.len();

/// All functions that are looked for.
const NAMES: [&str; 6] = [
    "SSL_read",
    "SSL_write",
    // Since OpenSSL 1.1.1; BoringSSL has none.
    "SSL_read_ex",
    "SSL_write_ex",
    // Comes before the rest, and tells which socket it all belongs to.
    "SSL_do_handshake",
    "SSL_free",
];

/// Functions of programs of Go's that tell which goroutine makes a request, or serves: where
/// they begin, since arguments move soon.
const GO: [(&str, &str); 3] = [
    ("net/http.(*conn).serve", programs::GO_SERVE),
    ("net/http.(*persistConn).roundTrip", programs::GO_ROUND_TRIP),
    ("net/http.(*Request).write", programs::GO_WRITE),
];

impl Point {
    /// What is seen by it, for people.
    pub fn what(&self) -> &'static str {
        let is_go = GO.iter().any(|(name, _)| *name == self.name);
        if is_go { "net/http" } else { "TLS" }
    }
}

/// The observed functions that `file` contains; none if it isn't for this machine's
/// processor, and isn't (and doesn't contain) a TLS library that tells its names, or a
/// program of Go's with net/http.
pub fn functions_of(file: &File) -> Vec<Point> {
    let Ok(sections) = Sections::read(file) else {
        return Vec::new();
    };
    if !sections.is_64 || sections.machine != MACHINE {
        return Vec::new();
    }
    let Ok(info) = ElfInfo::read(file) else {
        return Vec::new();
    };
    for table in TABLES {
        let addresses = symbol_table::addresses_of(file, &sections, table, &NAMES);
        let offset = |n: usize| info.offset((*addresses.get(n)?)?);
        let (Some(read), Some(write)) = (offset(0), offset(1)) else {
            continue;
        };
        let code = Code::new(file, &info, sections.machine);
        let mut points = Vec::new();
        transfer(&code, &READ, read, offset(2), &mut points);
        transfer(&code, &WRITE, write, offset(3), &mut points);
        for (number, called, returns) in [
            (4, programs::TLS_HANDSHAKE, true),
            (5, programs::TLS_FREE, false),
        ] {
            if let (Some(start), Some(name)) = (offset(number), NAMES.get(number)) {
                points.push(Point {
                    name,
                    called,
                    returns,
                    offset: code.cheap(start).unwrap_or(start),
                });
            }
        }
        return points;
    }
    of_go(file, &sections, &info)
}

fn of_go(file: &File, sections: &Sections, info: &ElfInfo) -> Vec<Point> {
    if !go_functions::is_go(sections) {
        return Vec::new();
    }
    let addresses = go_functions::addresses_of(file, sections, &GO.map(|(name, _)| name));
    let found = GO.into_iter().zip(addresses);
    let points = found.filter_map(|((name, called), address)| {
        Some(Point {
            name,
            called,
            returns: false,
            offset: info.offset(address?)?,
        })
    });
    points.collect()
}

/// A pair of functions of one direction: names and programs.
struct Pair {
    names: [&'static str; 2],
    plain: &'static str,
    ex: &'static str,
    /// For an inner function that takes flags before the address.
    flags: Option<&'static str>,
}

const READ: Pair = Pair {
    names: ["SSL_read", "SSL_read_ex"],
    plain: programs::TLS_READ,
    ex: programs::TLS_READ_EX,
    flags: None,
};

const WRITE: Pair = Pair {
    names: ["SSL_write", "SSL_write_ex"],
    plain: programs::TLS_WRITE,
    ex: programs::TLS_WRITE_EX,
    flags: Some(programs::TLS_WRITE_FLAGS),
};

/// Adds the points of a pair of functions, where they cost least.
fn transfer(code: &Code<'_>, pair: &Pair, plain: u64, ex: Option<u64>, points: &mut Vec<Point>) {
    let [plain_name, ex_name] = pair.names;
    let point = |name, called, offset| Point {
        name,
        called,
        returns: true,
        offset,
    };
    let is_cheap = |function: u64| code.cheap(function).is_some();
    let any = |function: u64| code.cheap(function).unwrap_or(function);
    if !(is_cheap(plain) && ex.is_none_or(is_cheap))
        && let Some((inner, out)) = code.inner(plain)
        && let Some(place) = code.cheap(inner)
        && let Some(called) = match out {
            Out::Fourth => Some(pair.ex),
            Out::Fifth => pair.flags,
        }
    {
        points.push(point(plain_name, called, place));
        // Where that goes another way, a call that is seen twice counts once.
        if let Some(ex) = ex.filter(|ex| !code.leads_to(*ex, inner)) {
            points.push(point(ex_name, pair.ex, any(ex)));
        }
        return;
    }
    points.push(point(plain_name, pair.plain, any(plain)));
    points.extend(ex.map(|ex| point(ex_name, pair.ex, any(ex))));
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// A program that contains functions of these names; `options` are the
    /// linker's.
    fn program(directory: &Path, options: &[&str]) -> File {
        let source = directory.join("library.c");
        let code = "int SSL_read(void*s,void*b,int n){return n;}\n\
                    int SSL_write(void*s,void*b,int n){return n+1;}\n\
                    static int NOT_SSL_free(void){return 2;}\n\
                    int main(void){return SSL_read(0,0,0)+NOT_SSL_free();}\n";
        std::fs::write(&source, code).expect("source");
        let out = directory.join("library");
        let status = Command::new("cc")
            .args(options)
            .arg("-o")
            .arg(&out)
            .arg(&source)
            .status()
            .expect("a C compiler");
        assert!(status.success());
        File::open(out).expect("program")
    }

    /// The offsets by `nm` (section addresses by the ELF header that we read).
    fn by_nm(path: &Path, table: &[&str], name: &str) -> Option<u64> {
        let out = Command::new("nm")
            .args(table)
            .arg(path)
            .output()
            .expect("nm");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let found = words.nth(1)?.split('@').next() == Some(name);
            found.then_some(address)
        })
    }

    /// Checks that functions are found in a program with a symbol table, at the
    /// addresses that nm tells, and in one that only exports them.
    #[test]
    fn programs_with_names() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("library");
        for (options, table) in [
            (vec!["-O0"], vec![]),
            (vec!["-O0", "-rdynamic", "-s"], vec!["-D"]),
        ] {
            let file = program(directory.path(), &options);
            let info = ElfInfo::read(&file).expect("segments");
            let found = functions_of(&file);
            let names: Vec<_> = found.iter().map(|p| p.name).collect();
            assert_eq!(names, ["SSL_read", "SSL_write"]);
            for point in found {
                let address = by_nm(&path, &table, point.name).expect("nm knows it");
                let segment = info.segment(point.offset).expect("in a segment");
                let found = point.offset - segment.offset + segment.address;
                // A cheap place is at most an `endbr64` away.
                assert!((address..=address + 4).contains(&found), "{point:?}");
            }
        }
    }

    /// Checks that a program without names, and what is no program, are none.
    #[test]
    fn programs_without() {
        let directory = tempfile::tempdir().expect("directory");
        let file = program(directory.path(), &["-s"]);
        assert_eq!(functions_of(&file), []);
        let empty = tempfile::tempfile().expect("file");
        assert_eq!(functions_of(&empty), []);
    }

    /// Checks a library like OpenSSL since 1.1.1 and since 3.2, whose functions
    /// begin with something that is expensive to observe: the inner functions are
    /// found, by nm's addresses, and the outer ones left alone.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn inner_functions() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("library");
        // As compilers write them: `sub $24,%rsp` first.
        let code = r#"
            .macro function name
            .globl \name
            .type \name, @function
            \name:
            .endm
            function inner_read
            push %rbx
            pop %rbx
            ret
            function inner_write
            endbr64
            push %r14
            pop %r14
            ret
            function SSL_read
            sub $24,%rsp
            test %edx,%edx
            js 1f
            lea 8(%rsp),%rcx
            movslq %edx,%rdx
            call inner_read
            1: add $24,%rsp
            ret
            function SSL_read_ex
            sub $8,%rsp
            call inner_read
            add $8,%rsp
            ret
            function SSL_write
            sub $24,%rsp
            movslq %edx,%rdx
            xor %ecx,%ecx
            lea 8(%rsp),%r8
            call inner_write
            add $24,%rsp
            ret
            function SSL_write_ex
            mov %rcx,%r8
            xor %ecx,%ecx
            jmp between
            function between
            sub $8,%rsp
            call inner_write
            add $8,%rsp
            ret
            function SSL_do_handshake
            sub $8,%rsp
            call SSL_free
            add $8,%rsp
            ret
            function SSL_free
            test %rdi,%rdi
            je 1f
            1: ret
        "#;
        let source = directory.path().join("library.s");
        std::fs::write(&source, code).expect("source");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-Wl,-Bsymbolic", "-o"])
            .arg(&path)
            .arg(&source);
        assert!(cc.status().expect("a C compiler").success());
        let file = File::open(&path).expect("library");
        let info = ElfInfo::read(&file).expect("segments");
        let found: Vec<_> = functions_of(&file)
            .into_iter()
            .map(|point| (point.name, point.called, point.returns, point.offset))
            .collect();
        let at = |name: &str, behind: u64| {
            info.offset(by_nm(&path, &[], name).expect("nm knows it"))
                .expect("code")
                + behind
        };
        let expected = [
            ("SSL_read", "tls_read_ex", true, at("inner_read", 0)),
            // Behind endbr64.
            ("SSL_write", "tls_write_flags", true, at("inner_write", 4)),
            (
                "SSL_do_handshake",
                "tls_handshake",
                true,
                at("SSL_do_handshake", 0),
            ),
            // Behind test.
            ("SSL_free", "tls_free", false, at("SSL_free", 3)),
        ];
        assert_eq!(found, expected);
    }
}
