//! What must hold for any recorded conversation, however little of it is seen.

use super::conversation::{Outcome, Piece, pieces, play};
use crate::call::{Call, Db};
use crate::protocol::{Ended, Parser};

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
        if db.unseen {
            line += " ?";
        }
        if let Some(error) = &db.error {
            line += &format!(" !{error}");
        }
        if let Some(rows) = db.rows {
            line += &format!(" ={rows}");
        }
        if let Some(cache) = &db.cache {
            line += &format!(" ({})", cache.result.name());
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

/// Whatever is said, beginning like one of the openings and going on with
/// anything, is survived; and a parser by itself is small.
pub fn survive<P: Parser>(new: impl Fn() -> P, openings: &[&[u8]]) {
    assert!(size_of::<P>() <= 1024, "{}", std::any::type_name::<P>());
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..500 {
        let mut recording = Vec::new();
        for _ in 0..random.usize(..30) {
            let mut bytes = Vec::new();
            for _ in 0..random.usize(..4) {
                bytes.extend(openings[random.usize(..openings.len())]);
                bytes.extend((0..random.usize(..20)).map(|_| random.u8(..)));
            }
            // Most begin like a message, none is lost in half of the pieces.
            let flags = random.u8(..) & if random.bool() { 13 } else { 15 };
            recording.push(flags);
            recording.extend((bytes.len() as u16).to_be_bytes());
            recording.extend(bytes);
        }
        play(&mut new(), &pieces(&recording));
    }
}

/// Checks that whatever is said in any protocol's first bytes, and goes on with
/// anything, is survived; and that a parser by itself is small.
#[test]
fn garbage_is_survived() {
    survive(
        crate::postgres::Postgres::new,
        &[
            b"Q\0\0\0\x09sel\0",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"B\0\0\0\x08\0\0\0\0",
            b"E\0\0\0\x09\0\0\0\0\0",
            b"S\0\0\0\x04",
            b"H\0\0\0\x04",
            b"C\0\0\0\x0dSELECT 1\0",
            b"Z\0\0\0\x05I",
            b"E\0\0\0\x0cC23505\0\0",
            b"D\xff\xff\xff\xff",
        ],
    );
    survive(
        crate::mysql::MySql::new,
        &[
            b"\x05\0\0\0\x03sele",
            b"\x01\0\0\0\x0e",
            b"\x07\0\0\x01\0\0\0\x0a\0\0\0",
            b"\x01\0\0\x01\x02",
            b"\x05\0\0\x03\xfe\0\0\x02\0",
            b"\xff\xff\xff\x01\0",
            b"\x03\0\0\x01\xff\x01\x02",
            b"\x0a\0\0\0\x16select 1;",
        ],
    );
    survive(
        crate::redis::Redis::new,
        &[
            b"*1\r\n$4\r\nPING\r\n",
            b"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n",
            b"$9223372036854775807\r\n",
            b"*9999999999\r\n",
            b"%4611686018427387904\r\n",
            b"+OK\r\n",
            b"-ERR x\r\n",
            b">1\r\n",
            b"|1\r\n",
            b"*2\r\n$1\r\n",
            b"PING\r\n",
            b"$-1\r\n",
        ],
    );
    survive(
        || crate::dns::Dns::new(true),
        &[
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
            b"\x12\x34\x81\x80\0\x01\xff\xff\0\0\0\0\x01a\0\0\x01\0\x01\xc0\x0c",
        ],
    );
}
