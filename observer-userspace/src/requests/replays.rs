//! What must hold for any recorded conversation, however little of it is seen.

use super::call::{Call, Db};
use super::conversation::{Outcome, Piece, pieces, play};
use super::protocol::{Ended, Parser};

/// The call of an end.
pub fn db(ended: &Ended) -> &Db {
    match &ended.call {
        Call::Db(db) => db,
        other => panic!("{other:?} is no database's"),
    }
}

/// Gives each file of a fuzz target's corpus to `each`.
pub fn corpus(target: &str, each: impl Fn(&[u8])) {
    let folder = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).expect("a corpus");
    let mut count = 0;
    for file in files {
        each(&std::fs::read(file.expect("an entry").path()).expect("a file"));
        count += 1;
    }
    assert!(count > 0);
}

/// One line for each exchange: summary, error, rows, text.
pub fn lines(outcome: &Outcome) -> Vec<String> {
    let line = |ended: &Ended| {
        let db = db(ended);
        let mut line = db.summary.to_string();
        if let Some(namespace) = &db.namespace {
            line += &format!(" @{namespace}");
        }
        if let Some(error) = &db.error {
            line += &format!(" !{error}");
        }
        if let Some(rows) = db.rows {
            line += &format!(" ={rows}");
        }
        if let Some(failure) = &db.failure {
            line += &format!(" {failure:?}");
        }
        if let Some(text) = &db.text {
            line += &format!(": {text}");
        }
        line
    };
    outcome.ended.iter().map(line).collect()
}

/// Plays a recording as it is, and in other ways that must not matter much:
/// split anywhere, with parts not captured, with pieces lost. Returns what the
/// whole gives.
pub fn replay<P: Parser>(recording: &[u8], new: impl Fn() -> P) -> Outcome {
    let whole = pieces(recording);
    let truth = play(&mut new(), &whole);
    let said = lines(&truth);
    for line in &said {
        assert!(!line.to_lowercase().contains("secret"), "{line}");
    }
    let mut random = fastrand::Rng::with_seed(7);
    for most in [1, 2, 3, 7, 100] {
        let split = split(&whole, &mut random, most);
        let outcome = play(&mut new(), &split);
        assert_eq!(lines(&outcome), said, "pieces of up to {most} bytes");
    }
    for round in 0..300 {
        // Whole pieces with parts not captured; later also lost ones.
        let mut seen = whole.clone();
        for piece in &mut seen {
            if random.u8(..4) == 0 {
                piece.flags |= random.u8(..4) << 2;
            }
        }
        if round > 150 {
            let at = random.usize(..seen.len());
            let lost = random.usize(1..=3.min(seen.len() - at));
            seen.drain(at..at + lost);
            if let Some(next) = seen.get_mut(at) {
                next.flags |= 2;
            }
        }
        let outcome = play(&mut new(), &seen);
        // In order, with nothing that wasn't said.
        let mut truth = truth.ended.iter();
        for ended in &outcome.ended {
            let (operation, text) = (&db(ended).operation, &db(ended).text);
            let found = truth.any(|true_one| {
                let said = db(true_one);
                // A text that was cut is its beginning, and may say less. Without
                // an answer it isn't known whether something was only prepared.
                let beginning = text.as_deref().unwrap_or("").split('?').next();
                (said.operation.starts_with(&**operation) || said.operation == "PREPARE")
                    && said
                        .text
                        .as_deref()
                        .unwrap_or("")
                        .starts_with(beginning.unwrap_or(""))
            });
            let pieces = || {
                let piece = |p: &Piece<'_>| {
                    let seen = &p.bytes[..p.captured()];
                    format!("{} {} {}", p.flags, p.bytes.len(), seen.escape_ascii())
                };
                seen.iter().map(piece).collect::<Vec<_>>().join("\n")
            };
            assert!(found, "round {round}: {ended:?} wasn't said:\n{}", pieces());
        }
    }
    truth
}

/// The same bytes in other pieces.
fn split<'a>(whole: &[Piece<'a>], random: &mut fastrand::Rng, most: usize) -> Vec<Piece<'a>> {
    let mut split = Vec::new();
    for piece in whole {
        let mut bytes = piece.bytes;
        while !bytes.is_empty() {
            let (here, rest) = bytes.split_at(random.usize(1..=most.min(bytes.len())));
            split.push(Piece {
                flags: piece.flags,
                bytes: here,
            });
            bytes = rest;
        }
    }
    split
}
