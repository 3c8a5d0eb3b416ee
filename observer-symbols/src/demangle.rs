//! Names as people write them, from those that C++ and Rust compilers make.
//!
//! Who owns a file writes its names, and parts of a mangled name refer to
//! earlier parts, so 260 bytes can stand for 150 MB. What is written has a
//! longest length, how deep a name nests a limit, and all names of one look-up
//! a common time; what goes beyond stays mangled.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use cpp_demangle::{BorrowedSymbol, DemangleOptions, ParseOptions};
use nix::time::{ClockId, clock_gettime};

/// Longer names stay as they are, in bytes. V8's longest has 604.
const MAX_MANGLED: usize = 1024;
/// Longest name made of one, in bytes.
const MAX_NAME: usize = 4096;
/// How deep a C++ name may nest, in rules of its grammar. The parser tries one
/// rule after another, so a malformed name costs time that is exponential in
/// this: the slowest of 400,000 random ones takes 0.25 s; with 40, one took 13 s.
/// Of 136,000 names of node and the C++ library 2.3 % nest deeper.
const MAX_DEPTH: u32 = 32;
/// How long to demangle the names of one look-up, in time of the processor; a
/// name takes some 10 µs.
const MAX_TIME: Duration = Duration::from_millis(500);

/// Demangles the names of one look-up.
#[derive(Debug, Default)]
pub struct Demangler {
    used: Duration,
}

impl Demangler {
    /// What `name` stands for; `None` for what is no mangled name, and for all
    /// names once those before took [`MAX_TIME`].
    pub fn demangle(&mut self, name: &str) -> Option<String> {
        if !is_mangled(name) || self.used > MAX_TIME {
            return None;
        }
        let start = processor_time();
        let demangled = demangle(name);
        self.used += processor_time().saturating_sub(start);
        demangled
    }
}

/// What this thread has run for.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Whether a name looks like a compiler's.
fn is_mangled(name: &str) -> bool {
    let inner = name.trim_start_matches('_');
    inner.len() < name.len()
        && (inner.starts_with('Z') || inner.starts_with('R'))
        && name.len() <= MAX_MANGLED
}

fn demangle(name: &str) -> Option<String> {
    // A stub's name says so at its end: `_Znwm@plt`.
    let (symbol, mark) = name.split_at(name.find('@').unwrap_or(name.len()));
    let mut out = Bounded::default();
    // Where overflows are checked the C++ parser panics on numbers near the
    // largest. Of what it worked on only the text remains, which is dropped.
    let written = catch_unwind(AssertUnwindSafe(|| write_demangled(symbol, &mut out)));
    written.ok()?.ok()?;
    fmt::Write::write_str(&mut out, mark).ok()?;
    Some(out.0)
}

/// Writes what `symbol` stands for: of Rust without the hash, of C++ with
/// parameters but without the type of what is returned.
fn write_demangled(symbol: &str, out: &mut Bounded) -> fmt::Result {
    if let Ok(rust) = rustc_demangle::try_demangle(symbol) {
        return fmt::Write::write_fmt(out, format_args!("{rust:#}"));
    }
    let depth = ParseOptions::default().recursion_limit(MAX_DEPTH);
    let parsed = BorrowedSymbol::new_with_options(symbol.as_bytes(), &depth);
    let options = DemangleOptions::new().no_return_type();
    parsed
        .map_err(|_| fmt::Error)?
        .structured_demangle(out, &options)
}

/// Text of at most [`MAX_NAME`] bytes.
#[derive(Debug, Default)]
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_NAME {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// Checks names of C++, of both of Rust's schemes and of C, against what
    /// c++filt(1) and rustfilt print.
    #[test]
    fn known_names() {
        for (name, expected) in [
            (
                "_ZNSt6vectorIiSaIiEE9push_backERKi",
                Some("std::vector<int, std::allocator<int> >::push_back(int const&)"),
            ),
            ("_Z3maxIiET_S0_S0_", Some("max<int>(int, int)")),
            ("_Znwm@plt", Some("operator new(unsigned long)@plt")),
            ("_ZN1a1fEv.cold", Some("a::f() [clone .cold]")),
            (
                "_ZN4core3fmt9Formatter3pad17h0123456789abcdefE",
                Some("core::fmt::Formatter::pad"),
            ),
            ("_RNvC6_123foo3bar", Some("123foo::bar")),
            ("qsort", None),
            ("i", None),
            ("_Zebra", None),
        ] {
            let found = Demangler::default().demangle(name);
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    /// Checks that names which would be 150 MB long, of C++ and of Rust, stay
    /// as they are.
    #[test]
    fn exploding_names() {
        let bomb = |levels: usize| {
            let digits: Vec<char> = ('0'..='9').chain('A'..='Z').collect();
            let mut name = "_Z1f1AIiiE1BIS0_S0_E".to_owned();
            // A template of the previous one, twice; S1_ is its name.
            for last in &digits[2..2 + levels] {
                name += &format!("S1_IS{last}_S{last}_E");
            }
            name
        };
        let small = demangle(&bomb(2)).expect("a name");
        assert!(
            small.contains("B<B<A<int, int>, A<int, int> >, B<"),
            "{small}"
        );
        let large = bomb(21);
        assert!(large.len() < 300);
        assert_eq!(demangle(&large), None);

        let bomb = |levels: usize| {
            let mut name = "_RINvC1a1fTmmE".to_owned();
            let mut previous = "7".to_owned();
            for _ in 0..levels {
                let at = name.len() - 2;
                name += &format!("TB{previous}_B{previous}_E");
                previous = base_62(at - 1);
            }
            name + "E"
        };
        let small = demangle(&bomb(1));
        let expected = "a::f::<(u32, u32), ((u32, u32), (u32, u32))>";
        assert_eq!(small.as_deref(), Some(expected));
        assert_eq!(demangle(&bomb(21)), None);
    }

    /// A place in a Rust name, as references to it have it.
    fn base_62(number: usize) -> String {
        let digits: Vec<char> = ('0'..='9').chain('a'..='z').chain('A'..='Z').collect();
        match number {
            0..62 => digits[number].to_string(),
            _ => base_62(number / 62) + &digits[number % 62].to_string(),
        }
    }

    /// Checks that a malformed name on which the parser would work for hours is
    /// given up, and that names get no more time once they had their share.
    #[test]
    fn time_is_limited() {
        let mut demangler = Demangler::default();
        let slow = format!("_ZN{}EvT_", "StC1I".repeat(20));
        assert_eq!(demangler.demangle(&slow), None);
        assert!(demangler.demangle("_Z1fv").is_some());
        demangler.used = MAX_TIME + Duration::from_nanos(1);
        assert_eq!(demangler.demangle("_Z1fv"), None);
    }

    /// Checks that no bytes, and no pieces of names in any order, end in a
    /// panic or in a name longer than the longest.
    #[test]
    fn random_names() {
        const PIECES: &str = "N E E E I J X L Z S_ S0_ T_ T0_ 1A 2ab i b v P \
            R O K DT Dp F M A_ st cv sr gs cl il _ Ul C1 D0 St Sa Lb1E Li1E TV GV n1_ C s_ Nv B2_ \
            17h0123456789abcdefE .cold é";
        let pieces: Vec<&str> = PIECES.split_whitespace().collect();
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut name = random
                .choice(["_Z", "_ZN", "_R", "_Z1fI"])
                .expect("one")
                .to_owned();
            for _ in 0..random.usize(..24) {
                match random.u8(..8) {
                    0 => name.push(char::from(random.u8(..))),
                    _ => name += random.choice(&pieces).expect("one"),
                }
            }
            let found = demangle(&name);
            assert!(found.is_none_or(|text| text.len() <= MAX_NAME), "{name}");
        }
        assert_eq!(demangle("_Z1fIiEvT9223372036854775807_"), None);
    }

    /// The mangled names of code in libstdc++; none where it or nm(1) is missing.
    fn library_names() -> Vec<String> {
        let folders = [
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/usr/lib64",
        ];
        let paths = folders.map(|folder| format!("{folder}/libstdc++.so.6"));
        let Some(path) = paths
            .iter()
            .find(|path| std::fs::exists(path).unwrap_or(false))
        else {
            return Vec::new();
        };
        let Ok(listed) = Command::new("nm").args(["-D", path]).output() else {
            return Vec::new();
        };
        let listed = String::from_utf8(listed.stdout).expect("text");
        let names = listed
            .lines()
            .filter_map(|line| line.split_whitespace().last());
        let names = names.map(|name| name.split('@').next().unwrap_or(name));
        let mut names: Vec<String> = names
            .filter(|n| is_mangled(n) && !n.starts_with("_ZT"))
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What c++filt makes of each of `names`.
    fn filtered(names: &[&str]) -> Vec<String> {
        let mut child = Command::new("c++filt")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("c++filt, which comes with nm");
        let mut input = child.stdin.take().expect("piped");
        let text = names.join("\n") + "\n";
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let output = child.wait_with_output().expect("output");
        writer.join().expect("no panic").expect("written");
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// A name with the usual names of strings and streams, which ours has where
    /// the mangled name abbreviates them, and theirs has nowhere.
    fn short(name: &str) -> String {
        let string = "std::basic_string<char, std::char_traits<char>, std::allocator<char> >";
        let mut short = name.replace(string, "std::string");
        for stream in ["istream", "ostream", "iostream"] {
            let long = format!("std::basic_{stream}<char, std::char_traits<char> >");
            short = short.replace(&long, &format!("std::{stream}"));
        }
        // Constructors and destructors.
        for class in ["string", "istream", "ostream", "iostream"] {
            for mark in ["::", "::~"] {
                let long = format!("std::{class}{mark}basic_{class}(");
                short = short.replace(&long, &format!("std::{class}{mark}{class}("));
            }
        }
        short
    }

    /// Checks functions of the C++ library against what c++filt(1) prints, which
    /// puts the type of what is returned before functions made of templates. Ours
    /// leaves the first parameter of constructors made of templates out, and
    /// writes numbers in templates and spaces after `>` otherwise.
    #[test]
    fn same_as_binutils() {
        let names = library_names();
        if names.is_empty() {
            assert!(
                std::env::var_os("CI").is_none(),
                "libstdc++.so.6 or nm is missing"
            );
            eprintln!("skipped: needs libstdc++.so.6, nm and c++filt");
            return;
        }
        let step = (names.len() / 2000).max(1);
        let sample: Vec<&str> = names.iter().step_by(step).map(String::as_str).collect();
        let theirs = filtered(&sample);
        let (mut same, mut without_return, mut different) = (0, 0, Vec::new());
        for (name, theirs) in sample.iter().zip(&theirs) {
            let ours = demangle(name).unwrap_or_else(|| (*name).to_owned());
            let (ours, theirs) = (short(&ours), short(theirs));
            if ours == theirs {
                same += 1;
            } else if theirs.strip_suffix(&ours).is_some_and(|t| t.ends_with(' ')) {
                without_return += 1;
            } else {
                different.push(format!("{name}\n  {ours}\n  {theirs}"));
            }
        }
        println!(
            "{} names: {same} same, {without_return} but for the return type, {} different:\n{}",
            sample.len(),
            different.len(),
            different.join("\n")
        );
        assert_eq!(theirs.len(), sample.len());
        assert!(
            different.len() * 50 <= sample.len(),
            "{}",
            different.join("\n")
        );
    }
}
