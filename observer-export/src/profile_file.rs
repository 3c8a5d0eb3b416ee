//! Profiles as files, the format chosen by the file's name.

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;

use super::new_file::{Access, Place};
use super::{flamegraph, folded, pprof};
use observer_signals::Profile;

/// A file format for profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.svg`: a flamegraph.
    Flamegraph,
    /// `.pb.gz`: pprof.
    Pprof,
    /// `.folded`, `.txt`: collapsed stacks.
    Folded,
}

/// Where a profile goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A file.
    File(PathBuf, Format),
    /// Collapsed stacks on standard output.
    Stdout,
}

/// A file name that names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no format: use .svg (flamegraph), .pb.gz (pprof), .folded or .txt, or - for standard output"
)]
pub struct UnknownFormat(pub String);

/// Names of standard output, which is open already, whatever it is.
const STANDARD_OUTPUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

impl Output {
    /// The output that `argument` (of `-o`) means.
    ///
    /// # Errors
    /// When its ending is none of the known ones.
    pub fn parse(argument: &str) -> Result<Self, UnknownFormat> {
        if STANDARD_OUTPUT.contains(&argument) {
            return Ok(Self::Stdout);
        }
        let endings = [
            (".svg", Format::Flamegraph),
            (".pb.gz", Format::Pprof),
            (".folded", Format::Folded),
            (".txt", Format::Folded),
        ];
        let format = endings.iter().find(|(end, _)| argument.ends_with(end));
        let (_, format) = format.ok_or_else(|| UnknownFormat(argument.to_owned()))?;
        Ok(Self::File(PathBuf::from(argument), *format))
    }

    /// The output beside this one: `x.svg` and `x.WORD.svg`; none beside standard
    /// output.
    pub fn beside(&self, word: &str) -> Option<Self> {
        let Self::File(path, format) = self else {
            return None;
        };
        let name = path.file_name()?.to_str()?;
        let end = match format {
            Format::Pprof => ".pb.gz",
            _ => name.get(name.rfind('.')?..)?,
        };
        let name = format!("{}.{word}{end}", name.strip_suffix(end)?);
        Some(Self::File(path.with_file_name(name), *format))
    }

    /// Fails early, before anything is recorded, where writing must fail.
    ///
    /// # Errors
    /// When the folder isn't there or may not be written, or something other than a file
    /// of ours is in the way; see [`Place::check`].
    pub fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(path, _) => Place::open(path)?.check(),
        }
    }

    /// Writes `profile` there: a new file, whole or not at all, for whom `access` says.
    ///
    /// # Errors
    /// When it can't be written; says which file.
    pub fn write(&self, profile: &Profile, access: Access) -> anyhow::Result<()> {
        match self {
            Self::Stdout => folded::write(profile, io::stdout().lock())
                .context("can't write to standard output"),
            Self::File(path, format) => Place::open(path)?.write(access, |out| match format {
                Format::Flamegraph => flamegraph::write(profile, out),
                Format::Pprof => pprof::write(profile, out),
                Format::Folded => folded::write(profile, out),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::pprof::protos::{self, Message as _};
    use observer_signals::attribute::SharedResource;
    use observer_signals::interner::Interner;
    use observer_signals::profile::{Frame, FrameKind, Function, Line, Mapping, Sample};
    use std::collections::BTreeMap;
    use std::io::Read as _;

    /// A profile with all kinds of frames: named, inlined, unnamed, kernel,
    /// names with the formats' own special characters, two threads of one
    /// stack, an empty stack.
    fn example() -> Profile {
        let mut i = Interner::new(Profile {
            period: 10_101_010,
            duration: 1_000_000_000,
            ..Profile::default()
        });
        let mut frame = |kind, address: u64, names: &[&str]| {
            let path = i.string("/usr/bin/app");
            let mapping = i.mapping(Mapping {
                start: 0x1000,
                end: 0x9000,
                path,
                ..Mapping::default()
            });
            let line = |name: &&str| {
                let name = i.string(name);
                let function = i.function(Function {
                    name,
                    ..Function::default()
                });
                Line { function, line: 7 }
            };
            let lines = names.iter().map(line).collect();
            i.frame(Frame {
                kind,
                mapping,
                address,
                lines,
            })
        };
        let main = frame(FrameKind::Native, 0x1001, &["main"]);
        let both = frame(
            FrameKind::Native,
            0x1002,
            &["inner<A; B>", "outer & <more>"],
        );
        let bare = frame(FrameKind::Native, 0x1003, &[]);
        let jit = frame(FrameKind::Jit, 0x1004, &["LFoo;::bar baz"]);
        let kernel = frame(FrameKind::Kernel, u64::MAX - 5, &["do_syscall_64"]);
        let stacks = [
            vec![kernel, both, main],
            vec![bare, main],
            vec![jit, main],
            vec![main],
            vec![],
        ];
        for (n, stack) in stacks.into_iter().enumerate() {
            let stack = i.stack(stack);
            let process = i.string("my app");
            let resource = i.resource(&SharedResource::default());
            for tid in [1, 2] {
                i.sample(Sample {
                    stack,
                    pid: 1,
                    tid,
                    thread: process,
                    process,
                    resource,
                    wait: None,
                    value: 3_u64.pow(n as u32) * u64::from(tid),
                    link: None,
                    route: 0,
                });
            }
        }
        i.finish()
    }

    fn from_folded(text: &str) -> BTreeMap<String, u64> {
        let line = |line: &str| {
            let (stack, count) = line.rsplit_once(' ').expect("a count");
            (stack.to_owned(), count.parse().expect("a number"))
        };
        text.lines().map(line).collect()
    }

    fn from_pprof(bytes: &[u8]) -> BTreeMap<String, u64> {
        let mut raw = Vec::new();
        flate2::read::GzDecoder::new(bytes)
            .read_to_end(&mut raw)
            .expect("gzip");
        let p = protos::Profile::decode(raw.as_slice()).expect("a profile");
        assert_eq!(p.string_table[0], "");
        let text = |id: i64| p.string_table[id as usize].replace(';', ":");
        let mut sums = BTreeMap::new();
        for sample in &p.sample {
            let label = |key: &str| {
                let found = sample.label.iter().find(|l| text(l.key) == key);
                text(found.expect("the label").str)
            };
            let mut stack = label("comm");
            for id in sample.location_id.iter().rev() {
                let location = p.location.iter().find(|l| l.id == *id).expect("location");
                assert!(p.mapping.iter().any(|m| m.id == location.mapping_id));
                for line in location.line.iter().rev() {
                    let mut functions = p.function.iter();
                    let function = functions.find(|f| f.id == line.function_id);
                    stack += ";";
                    stack += &text(function.expect("function").name);
                }
            }
            assert_eq!(sample.value[1], sample.value[0] * p.period);
            *sums.entry(stack).or_default() += sample.value[0] as u64;
        }
        sums
    }

    /// What each frame of the picture says, e.g. `main (1,234 samples, 5%)`,
    /// summed by name.
    fn from_svg(svg: &str) -> BTreeMap<String, u64> {
        let unescape = |t: &str| {
            t.replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&")
        };
        let mut sums = BTreeMap::new();
        for title in svg.split("<title>").skip(1) {
            let title = unescape(title.split("</title>").next().expect("closed"));
            let (name, rest) = title.rsplit_once(" (").expect("a count");
            let count = rest.split(' ').next().expect("a count").replace(',', "");
            *sums.entry(name.to_owned()).or_default() += count.parse::<u64>().expect("number");
        }
        sums
    }

    /// Checks that pprof, folded and SVG tell the same totals for each stack,
    /// each read back by its own little decoder.
    #[test]
    fn formats_agree() {
        let profile = example();
        let folder = tempfile::tempdir().expect("folder");
        let read = |name: &str| {
            let path = folder.path().join(name);
            let output = Output::parse(path.to_str().expect("UTF-8")).expect("a format");
            output.check().expect("writable");
            output.write(&profile, Access::Usual).expect("written");
            std::fs::read(path).expect("there")
        };
        let folded = from_folded(std::str::from_utf8(&read("p.folded")).expect("UTF-8"));
        assert_eq!(folded.values().sum::<u64>(), 3 * (1 + 3 + 9 + 27 + 81));
        assert_eq!(folded["my app;main;app+0x1003"], 9);
        assert_eq!(
            folded["my app;main;outer & <more>;inner<A: B>;do_syscall_64"],
            3
        );
        assert_eq!(folded["my app"], 243);
        assert_eq!(from_pprof(&read("p.pb.gz")), folded);
        let mut per_name: BTreeMap<String, u64> = BTreeMap::new();
        for (stack, count) in &folded {
            for name in std::iter::once("all").chain(stack.split(';')) {
                *per_name.entry(name.to_owned()).or_default() += count;
            }
        }
        let svg = String::from_utf8(read("p.svg")).expect("UTF-8");
        assert_eq!(from_svg(&svg), per_name);
        assert!(
            svg.contains("text-anchor:end; opacity:0.8;"),
            "search is hidden"
        );
        assert!(svg.contains("id=\"legend\""));
    }

    /// Checks that a profile without samples is still a readable file in every
    /// format.
    #[test]
    fn empty_profile() {
        let empty = Interner::new(Profile::default()).finish();
        let mut svg = Vec::new();
        flamegraph::write(&empty, &mut svg).expect("svg");
        assert!(String::from_utf8_lossy(&svg).contains("[no samples]"));
        let mut out = Vec::new();
        pprof::write(&empty, &mut out).expect("pprof");
        assert!(from_pprof(&out).is_empty());
    }

    /// Checks which names are formats.
    #[test]
    fn formats() {
        for standard in STANDARD_OUTPUT {
            assert_eq!(Output::parse(standard), Ok(Output::Stdout));
        }
        let format = |name: &str| match Output::parse(name) {
            Ok(Output::File(_, format)) => Some(format),
            _ => None,
        };
        assert_eq!(format("a/b.svg"), Some(Format::Flamegraph));
        assert_eq!(format("x.pb.gz"), Some(Format::Pprof));
        assert_eq!(format("x.txt"), Some(Format::Folded));
        let beside = |name: &str| Output::parse(name).ok()?.beside("off-cpu");
        assert_eq!(beside("a/b.c.svg"), Output::parse("a/b.c.off-cpu.svg").ok());
        assert_eq!(beside("x.pb.gz"), Output::parse("x.off-cpu.pb.gz").ok());
        assert_eq!(beside("-"), None);
        for wrong in ["x.png", "x", "", "x.pb", "x.svg.gz"] {
            assert!(Output::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Output::parse("/nowhere/x.svg").is_ok_and(|o| o.check().is_err()));
    }
}
