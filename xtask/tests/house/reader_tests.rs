//! Checks the readers themselves, with a small crate in which everything is that
//! they must understand.

use std::collections::BTreeSet;

use anyhow::Result;

use super::circles::circles;
use super::source::{Arrow, Crate};
use super::{limits, page};

/// A crate of these files, which need not compile.
fn krate(files: &[(&str, &str)]) -> Result<BTreeSet<(String, String)>> {
    Ok(arrows(files)?
        .into_iter()
        .map(|arrow| (arrow.from.join("::"), arrow.to.join("::")))
        .collect())
}

fn arrows(files: &[(&str, &str)]) -> Result<BTreeSet<Arrow>> {
    let folder = tempfile::tempdir()?;
    for (name, text) in files {
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(Crate::read(&folder.path().join("lib.rs"))?.arrows())
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    pairs
        .iter()
        .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
        .collect()
}

/// Checks each way to name something of another module.
#[test]
fn all_ways_to_use_a_module() -> Result<()> {
    let found = krate(&[
        (
            "lib.rs",
            "mod a; mod b; mod c; mod d; mod e; mod f; mod g; mod h; mod i; pub use c::C as Renamed;",
        ),
        (
            "a.rs",
            "use crate::{b::{self, B as Other}, c::{C}}; fn a() { b::b() }",
        ),
        ("b.rs", "pub struct B; pub mod low;"),
        ("b/low.rs", "use super::super::d::*; use super::B;"),
        (
            "c.rs",
            "pub struct C; fn c() { println!(\"{}\", crate::d::D) }",
        ),
        ("d/mod.rs", "pub const D: u8 = 1; mod deep;"),
        (
            "d/deep.rs",
            "use self::inner::X; mod inner { pub(in crate::a) struct X(super::super::super::e::E); }",
        ),
        ("e.rs", "pub struct E; impl From<crate::f::F> for E {}"),
        (
            "f.rs",
            "pub struct F; #[cfg(test)] mod tests { use crate::a::x; } #[cfg(test)] use crate::g::G;",
        ),
        (
            "g.rs",
            "use super::Renamed; fn g() -> crate::h::Through { crate::local() }",
        ),
        ("h.rs", "pub use crate::i::*; pub use crate::e::E as Via; "),
        (
            "i.rs",
            "pub struct Through; macro_rules! i { () => { $crate::h::Via } }",
        ),
    ])?;
    let expected = pairs(&[
        ("", "c"),
        ("a", "b"),
        ("a", "c"),
        ("b::low", "d"),
        ("b::low", "b"),
        ("c", "d"),
        ("d::deep", "d::deep::inner"),
        ("d::deep::inner", "e"),
        ("e", "f"),
        // Through `Renamed` of the root and the glob of `h`.
        ("g", "c"),
        ("g", "i"),
        // `crate::local` is the root's.
        ("g", ""),
        ("h", "i"),
        ("h", "e"),
        ("i", "e"),
    ]);
    assert_eq!(found, expected);
    Ok(())
}

/// Checks that a file elsewhere is found.
#[test]
fn written_paths_are_followed() -> Result<()> {
    let found = krate(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "#[path = \"elsewhere.rs\"] mod inner;"),
        ("elsewhere.rs", "use crate::b::B;"),
        ("b.rs", "pub struct B;"),
    ])?;
    assert_eq!(found, pairs(&[("a::inner", "b")]));
    Ok(())
}

/// Checks that circles of files and of folders are found, and a folder with what is
/// in it is none.
#[test]
fn circles_are_found() -> Result<()> {
    let found = circles(&arrows(&[
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "pub mod x; pub mod y; pub struct A; use x::X;"),
        ("a/x.rs", "pub struct X; use super::A; use crate::b::y::Y;"),
        ("a/y.rs", "pub struct W; "),
        ("b.rs", "pub mod y; pub mod z;"),
        ("b/y.rs", "pub struct Y; use super::z::Z;"),
        (
            "b/z.rs",
            "pub struct Z; use super::y::Y; use crate::a::y::W;",
        ),
        ("c.rs", "use crate::a::A; use crate::d::D;"),
        ("d.rs", "pub struct D;"),
    ])?);
    let told: Vec<_> = found
        .iter()
        .map(|circle| (circle.folder.join("::"), circle.modules.join(" ")))
        .collect();
    assert_eq!(
        told,
        [
            (String::new(), "a b".to_owned()),
            ("b".to_owned(), "y z".to_owned())
        ]
    );
    assert_eq!(found[1].arrows.len(), 2);
    Ok(())
}

/// Checks what is read of the page.
#[test]
fn floors_and_crates_of_the_page() -> Result<()> {
    let text = "### `one`: the first\n\nText.\n\n| module | |\n|---|---|\n| `a/` `b` | Both. |\n| `c` | `d`. |\n\n\
                ### `two`\n\n| crate | sees | |\n|---|---|---|\n| `x` | `y` `z` | |\n| `y` | | |\n";
    let floors = page::floors(text, "one")?;
    let floors: Vec<Vec<_>> = floors
        .iter()
        .map(|floor| floor.iter().map(String::as_str).collect())
        .collect();
    assert_eq!(floors, [vec!["a", "b"], vec!["c"]]);
    let crates = page::crates(text)?;
    assert_eq!(crates["x"].iter().collect::<Vec<_>>(), ["y", "z"]);
    assert!(crates["y"].is_empty());
    assert!(page::floors(text, "three").is_err());
    Ok(())
}

/// Checks that long functions and panics are seen, and that tests have neither.
#[test]
fn limits_are_seen() -> Result<()> {
    let long = format!(
        "fn long() {{\n{}}}\n",
        "    f();\n".repeat(limits::FUNCTION_LINES - 1)
    );
    let short = format!(
        "fn short() {{\n{}}}\n",
        "    f();\n".repeat(limits::FUNCTION_LINES - 2)
    );
    let panics = "fn f() {\n x.unwrap();\n y.expect(\"z\");\n panic!();\n parser.expect(a, b);\n x.unwrap_or(1);\n}\n";
    let tests = format!("#[cfg(test)]\nmod tests {{\n{panics}{long}}}\n");
    let found = limits::look_at(&(panics.to_owned() + &long + &short + &tests))?;
    assert_eq!(found.panics, [2, 3, 4]);
    assert_eq!(
        found.long,
        [("long".to_owned(), limits::FUNCTION_LINES + 1)]
    );
    Ok(())
}
