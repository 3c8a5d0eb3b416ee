//! The functions of a TLS library that are observed, and where a file has them.
//!
//! OpenSSL's names, which BoringSSL and others share: a shared `libssl`, or a
//! program (node, for one) that contains the library and tells its names.

use std::fs::File;

use crate::stacks::elf::{ElfInfo, Sections};
use crate::stacks::symbol_table;

/// `e_machine` of files whose calls the kernel half can read: ours.
const MACHINE: u16 = if cfg!(target_arch = "aarch64") {
    183
} else {
    62
};

/// Where names may be: what is exported, then what was left in for debuggers.
const TABLES: [&str; 2] = [".dynsym", ".symtab"];

/// A function of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The program of the kernel half that runs when it is called.
    pub called: &'static str,
    /// Whether [`RETURNED`] runs when it returns.
    pub returns: bool,
}

/// The program of the kernel half that runs when one returns.
pub const RETURNED: &str = "tls_returned";

/// All that are observed. Before and after the rest there is a handshake, which
/// tells which socket it all belongs to.
pub const FUNCTIONS: [Function; 6] = [
    function("SSL_read", "tls_read", true),
    function("SSL_write", "tls_write", true),
    // Since OpenSSL 1.1.1; BoringSSL has none.
    function("SSL_read_ex", "tls_read_ex", true),
    function("SSL_write_ex", "tls_write_ex", true),
    function("SSL_do_handshake", "tls_handshake", true),
    function("SSL_free", "tls_free", false),
];

/// How many of [`FUNCTIONS`], from the first, make a file a TLS library.
const REQUIRED: usize = 2;

const fn function(name: &'static str, called: &'static str, returns: bool) -> Function {
    Function {
        name,
        called,
        returns,
    }
}

/// The observed functions that `file` contains, each with its offset in the
/// file; none if it isn't (and doesn't contain) a TLS library for this
/// machine's processor, or keeps its names to itself.
pub fn functions_of(file: &File) -> Vec<(Function, u64)> {
    let names = FUNCTIONS.map(|f| f.name);
    let Ok(sections) = Sections::read(file) else {
        return Vec::new();
    };
    if !sections.is_64 || sections.machine != MACHINE {
        return Vec::new();
    }
    for table in TABLES {
        let addresses = symbol_table::addresses_of(file, &sections, table, &names);
        if addresses.iter().take(REQUIRED).all(Option::is_some) {
            let Ok(info) = ElfInfo::read(file) else {
                return Vec::new();
            };
            return FUNCTIONS
                .into_iter()
                .zip(addresses)
                .filter_map(|(function, address)| Some((function, info.offset(address?)?)))
                .collect();
        }
    }
    Vec::new()
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
            let names: Vec<_> = found.iter().map(|(f, _)| f.name).collect();
            assert_eq!(names, ["SSL_read", "SSL_write"]);
            for (function, offset) in found {
                let address = by_nm(&path, &table, function.name).expect("nm knows it");
                let segment = info.segment(offset).expect("in a segment");
                assert_eq!(offset - segment.offset + segment.address, address);
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
}
