//! Checks unwinding tables against what binutils reads from the same files.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use observer_common::unwind::{self, FP, Rule, SP, cfa, place};
use observer_testkit::packages;
use observer_unwind::{Table, build};

/// Checks that every row of libc, and its PLT, signal frame and roots, are in
/// the table as readelf interprets them.
#[test]
fn libc_agrees_with_readelf() -> Result<()> {
    agree("/usr/lib/x86_64-linux-gnu/libc.so.6", &X86_64, 25_000)
}

/// Checks the same for the dynamic linker.
#[test]
fn dynamic_linker_agrees_with_readelf() -> Result<()> {
    agree("/lib64/ld-linux-x86-64.so.2", &X86_64, 2_000)
}

/// Checks the same for a large program.
#[test]
fn python_agrees_with_readelf() -> Result<()> {
    agree("/usr/bin/python3.11", &X86_64, 60_000)
}

/// Checks the same for another machine's libc.
#[test]
fn aarch64_libc_agrees_with_readelf() -> Result<()> {
    agree("/usr/aarch64-linux-gnu/lib/libc.so.6", &AARCH64, 20_000)
}

/// Checks the same for a compressed `.debug_frame`, in a file without another.
#[test]
fn compressed_debug_frame_agrees_with_readelf() -> Result<()> {
    let path = corpus("../fuzz/corpus/unwind_elf/compressed-debug-frame");
    agree(&path, &X86_64, 90)
}

/// Checks that a file without section headers has the rows that readelf sees in
/// the same file with them.
#[test]
fn section_headers_may_be_missing() -> Result<()> {
    let stripped = corpus("../fuzz/corpus/unwind_elf/no-section-headers");
    let rows = readelf(&corpus("corpus/unwind/plt.elf"))?;
    compare(&stripped, &rows, &X86_64)
}

fn corpus(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// How readelf calls a machine's registers.
struct Machine {
    sp: &'static str,
    fp: &'static str,
    others: &'static [&'static str],
}

const X86_64: Machine = Machine {
    sp: "rsp",
    fp: "rbp",
    others: &[
        "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12",
        "r13", "r14", "r15",
    ],
};

const AARCH64: Machine = Machine {
    sp: "sp",
    fp: "x29",
    others: &[
        "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
        "x14", "x15", "x16", "x17", "x18",
    ],
};

/// One row of readelf's.
struct Row {
    start: u64,
    end: u64,
    cells: HashMap<String, String>,
}

/// Compares each of a file's rows; at least `expected` of them.
fn agree(path: &str, machine: &Machine, expected: usize) -> Result<()> {
    let rows = readelf(path)?;
    ensure!(rows.len() >= expected, "{path}: only {} rows", rows.len());
    compare(path, &rows, machine)
}

/// Compares a file's table with rows of readelf's.
fn compare(path: &str, rows: &[Row], machine: &Machine) -> Result<()> {
    let file = File::open(path).with_context(|| format!("open {path}"))?;
    let table = build(&file)?.with_context(|| format!("{path} has no table"))?;
    let mut wrong = Vec::new();
    for row in rows {
        for at in [row.start, row.end - 1] {
            let rule = rule(&table, at).with_context(|| format!("{path}: no row at {at:#x}"))?;
            if let Err(error) = same(row, &rule, machine) {
                wrong.push(format!("{at:#x}: {error}: {:?} is {rule:?}", row.cells));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{path}: {} of {} addresses differ:\n{}",
        wrong.len(),
        rows.len() * 2,
        wrong[..wrong.len().min(20)].join("\n")
    );
    Ok(())
}

fn rule(table: &Table, address: u64) -> Option<Rule> {
    let relative = u32::try_from(address.checked_sub(table.base)?).ok()?;
    let word = |at: u32| table.words.get(at as usize).copied();
    let at = unwind::search(relative, word)? as usize;
    let words = table.words.get(at..at + Rule::WORDS as usize)?;
    Some(Rule::from_words(words.try_into().ok()?))
}

fn same(row: &Row, rule: &Rule, machine: &Machine) -> Result<()> {
    // What isn't said has no column, or one for other rows' sake.
    let cell = |name: &str| match row.cells.get(name).map_or("u", String::as_str) {
        "s" => "u",
        cell => cell,
    };
    if cell("ra") == "u" && rule.cfa == cfa::END {
        return Ok(());
    }
    let elsewhere = |cell: &str| cell.starts_with('r');
    if rule.cfa == cfa::UNSUPPORTED
        && (elsewhere(cell(machine.fp)) || elsewhere(cell("ra")) || cell(machine.sp) != "u")
    {
        // longjmp and setcontext as they jump.
        return Ok(());
    }
    let frame = match rule.cfa {
        cfa::REGISTER => {
            let register = match rule.register {
                SP => machine.sp,
                FP => machine.fp,
                number => machine
                    .others
                    .get(usize::from(number))
                    .context("register")?,
            };
            format!("{register}{:+}", rule.cfa_offset)
        }
        cfa::DEREFERENCE | cfa::PLT => "exp".to_owned(),
        other => format!("{other}"),
    };
    ensure!(cell("CFA") == frame, "CFA {frame}");
    let saved = |place: u8, offset: i32| match place {
        place::AT_CFA => Ok(format!("c{offset:+}")),
        place::AT_SP | place::AT_FP => Ok("exp".to_owned()),
        place::SAME => Ok("u".to_owned()),
        // `r5 (rdi)`
        place::REGISTER => Ok(format!("r{offset}")),
        other => anyhow::bail!("place {other}"),
    };
    let ra = saved(rule.ra(), rule.ra_offset)?;
    ensure!(cell("ra") == ra, "ra {ra}");
    let fp = saved(rule.fp(), rule.fp_offset)?;
    ensure!(cell(machine.fp) == fp, "fp {fp}");
    Ok(())
}

/// All rows of a file as readelf interprets them.
fn readelf(path: &str) -> Result<Vec<Row>> {
    let output = packages::program("readelf", "binutils")?
        .args(["--wide", "--debug-dump=frames-interp,no-follow-links"])
        .arg(Path::new(path))
        .output()?;
    ensure!(output.status.success(), "readelf {path} failed");
    let text = String::from_utf8(output.stdout)?;
    let mut rows = Vec::new();
    let mut commons: HashMap<&str, Cells> = HashMap::new();
    for block in text.split("\n\n") {
        let mut lines = block.lines().filter(|line| !line.is_empty());
        let Some(head) = lines.next() else { continue };
        let words: Vec<_> = head.split_whitespace().collect();
        let columns: Vec<_> = lines
            .next()
            .map(|line| line.split_whitespace().collect())
            .unwrap_or_default();
        let mut own: Vec<(u64, Cells)> = Vec::new();
        for line in lines {
            // "r9 (r9)" is one cell: a register that is in another.
            let cells = line
                .split_whitespace()
                .filter(|cell| !cell.starts_with('('));
            let cells: Vec<_> = cells.collect();
            let address = u64::from_str_radix(cells.first().context("cells")?, 16)?;
            let pairs = columns.iter().zip(&cells).skip(1);
            let cells = pairs.map(|(c, v)| ((*c).to_owned(), (*v).to_owned()));
            own.push((address, cells.collect()));
        }
        if words.contains(&"CIE") {
            let cells = own.pop().map(|(_, cells)| cells).unwrap_or_default();
            commons.insert(words.first().context("offset")?, cells);
        } else if words.contains(&"FDE") {
            let field = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
            let (start, end) = field("pc=")
                .and_then(|pc| pc.split_once(".."))
                .context("pc")?;
            let start = u64::from_str_radix(start, 16)?;
            let end = u64::from_str_radix(end, 16)?;
            let common = commons.get(field("cie=").context("cie")?).context("CIE")?;
            if own.is_empty() {
                own.push((start, common.clone()));
            }
            let ends: Vec<_> = own.iter().skip(1).map(|(at, _)| *at).chain([end]).collect();
            for ((start, cells), end) in own.into_iter().zip(ends) {
                if start < end {
                    rows.push(Row { start, end, cells });
                }
            }
        }
    }
    Ok(rows)
}

type Cells = HashMap<String, String>;
