use super::Postgres;
use crate::testing::conversation::{Outcome, Piece, pieces, play};
use crate::testing::replays::{corpus, db, lines, replay};

/// Checks a conversation of psycopg's with PostgreSQL 15.
#[test]
fn psycopg() {
    let outcome = replay(
        include_bytes!("../../fixtures/postgres-psycopg"),
        Postgres::new,
    );
    let expected = [
        "CREATE TABLE items @postgres: create table if not exists items (id int primary key, name text, price float)",
        "TRUNCATE items @postgres: truncate items",
        "INSERT items @postgres =1: insert into items values ($1,$2,$3)",
        "BATCH @postgres =2: select ?; select ?, ? from items",
        "SELECT items @postgres =1: select name from items where id = $1",
        "PREPARE @postgres: select id from items where name = $1",
        "SELECT items @postgres =0: select id from items where name = $1",
        "SELECT items @postgres =0: select id from items where name = $1",
        "SELECT nowhere @postgres !42P01: select * from nowhere where a = ?",
        "INSERT items @postgres !23505: insert into items values ($1,$2,$3)",
        "COPY items @postgres =2: copy items from stdin",
        "COPY SELECT items @postgres =3: copy (select * from items) to stdout",
        "UPDATE items @postgres =3: update items set price = $1",
        "DELETE items @postgres =1: delete from items where id = $1",
        "SELECT items @postgres =2: select * from items",
        "SELECT @postgres !22012: select ?/$1::int",
        "DELETE items @postgres !22012: delete from items where id = $1",
        "BEGIN @postgres: BEGIN",
        "SELECT items @postgres =1: select count(*) from items",
        "COMMIT @postgres: COMMIT",
        "SELECT generate_series @postgres =40: select g, repeat(?) from generate_series(?) g",
        "NOTIFY @postgres: notify ch, ?",
    ];
    assert_eq!(lines(&outcome), expected);
}

/// Checks a conversation of asyncpg's with PostgreSQL 15.
#[test]
fn asyncpg() {
    let outcome = replay(
        include_bytes!("../../fixtures/postgres-asyncpg"),
        Postgres::new,
    );
    let expected = [
        "PREPARE @postgres: select name from items where id = $1",
        "SELECT items @postgres =1: select name from items where id = $1",
        "SELECT items @postgres =1: select name from items where id = $1",
        "BEGIN @postgres: BEGIN",
        "PREPARE @postgres: update items set name = $1 where id = $2",
        "UPDATE items @postgres =1: update items set name = $1 where id = $2",
        "COMMIT @postgres: COMMIT",
        "PREPARE @postgres: insert into items values ($1,$2,$3)",
        "INSERT items @postgres =1: insert into items values ($1,$2,$3)",
        "INSERT items @postgres =1: insert into items values ($1,$2,$3)",
        "DELETE items @postgres =2: delete from items where id > ?",
        "PREPARE @postgres !42601: selec ?",
    ];
    assert_eq!(lines(&outcome), expected);
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn startup(fields: &[u8]) -> Vec<u8> {
    let mut bytes = (fields.len() as u32 + 9).to_be_bytes().to_vec();
    bytes.extend([0, 3, 0, 0]);
    bytes.extend(fields);
    bytes.push(0);
    bytes
}

fn conversation(pieces: &[(u8, Vec<u8>)]) -> Outcome {
    let piece = |(flags, bytes): &(u8, Vec<u8>)| Piece {
        flags: *flags,
        bytes: bytes.clone().leak(),
    };
    let pieces: Vec<_> = pieces.iter().map(piece).collect();
    play(&mut Postgres::new(), &pieces)
}

fn done(tag: &str) -> Vec<u8> {
    message(b'C', &[tag.as_bytes(), b"\0"].concat())
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// Checks the ways to start: encryption agreed to and refused, replication,
/// cancellation; and the database, which may be the user's.
#[test]
fn starts() {
    let ssl = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f].to_vec();
    assert!(conversation(&[(0, ssl.clone()), (1, b"S".to_vec())]).finished);
    let query = message(b'Q', b"select 1\0");
    let answer = [done("SELECT 1"), ready()].concat();
    let auth = [message(b'R', &[0, 0, 0, 0]), ready()].concat();
    let outcome = conversation(&[
        (0, ssl.clone()),
        (1, b"N".to_vec()),
        (0, startup(b"user\0me\0")),
        (1, message(b'R', &[0, 0, 0, 3])),
        (0, message(b'p', b"secret\0")),
        (1, auth.clone()),
        (0, query.clone()),
        (1, answer.clone()),
    ]);
    assert_eq!(lines(&outcome), ["SELECT @me =1: select ?"]);
    let replication = startup(b"user\0me\0replication\0database\0");
    assert!(conversation(&[(0, replication)]).finished);
    let off = startup(b"user\0me\0replication\0off\0database\0db\0");
    let outcome = conversation(&[(0, off), (1, auth), (0, query), (1, answer)]);
    assert_eq!(lines(&outcome), ["SELECT @db =1: select ?"]);
    let cancel = [0, 0, 0, 16, 4, 0xd2, 0x16, 0x2e, 1, 2, 3, 4, 5, 6, 7, 8].to_vec();
    let outcome = conversation(&[(0, cancel)]);
    assert!(outcome.finished && outcome.ended.is_empty());
}

/// Checks a statement that was prepared before anything was seen: only what its
/// completion says is known.
#[test]
fn unknown_statement() {
    let ask = [
        message(b'B', b"\0unknown\0\0\0\0\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ]
    .concat();
    let answer = [message(b'2', b""), done("INSERT 0 3"), ready()].concat();
    let outcome = conversation(&[(0, ask), (1, answer)]);
    assert_eq!(lines(&outcome), ["INSERT =3"]);
    assert_eq!(db(&outcome.ended[0]).text, None);
}

/// Checks pipelined Executes before one Sync and several Syncs: each ends with
/// its own answer, the last one when all is committed; an error skips the rest.
#[test]
fn pipelines() {
    let execute = |text: &str| {
        [
            message(b'P', &[b"\0", text.as_bytes(), b"\0\0\0"].concat()),
            message(b'B', b"\0\0\0\0\0\0\0\0"),
            message(b'E', b"\0\0\0\0\0"),
        ]
        .concat()
    };
    let sync = message(b'S', b"");
    let error = message(b'E', b"SERROR\0VERROR\0C23505\0Msecret\0\0");
    let outcome = conversation(&[
        (
            0,
            [
                execute("delete from a"),
                execute("delete from b"),
                sync.clone(),
                execute("delete from c"),
                execute("delete from d"),
                sync.clone(),
                execute("delete from e"),
                sync,
            ]
            .concat(),
        ),
        (1, done("DELETE 1")),
        (
            1,
            [done("DELETE 2"), message(b'N', b"Snotice\0\0")].concat(),
        ),
        (1, ready()),
        (1, [error, ready()].concat()),
        (1, [done("DELETE 5"), ready()].concat()),
    ]);
    let expected = [
        "DELETE a =1: delete from a",
        "DELETE b =2: delete from b",
        "DELETE c !23505: delete from c",
        "DELETE d !23505: delete from d",
        "DELETE e =5: delete from e",
    ];
    assert_eq!(lines(&outcome), expected);
    let ends: Vec<_> = outcome.ended.iter().map(|ended| ended.at).collect();
    assert_eq!(ends, [2_500, 4_500, 5_500, 5_500, 6_500]);
}

/// Checks that rows which weren't captured end with the next question, when
/// their last piece was there; and what a closed connection leaves.
#[test]
fn ends_out_of_sight() {
    let query = |text: &str| message(b'Q', &[text.as_bytes(), b"\0"].concat());
    let outcome = conversation(&[
        (0, query("select a from b")),
        (5, message(b'D', &[1; 600])),
        (13, vec![2; 8192]),
        (13, vec![2; 100]),
        (0, query("select c from d")),
        (1, [done("SELECT 1"), ready()].concat()),
        (0, query("select e from f")),
        (13, vec![2; 100]),
        (0, query("select g from h")),
    ]);
    let expected = [
        "SELECT b ?: select a from b",
        "SELECT d =1: select c from d",
        "SELECT f ?: select e from f",
        "SELECT h Closed: select g from h",
    ];
    assert_eq!(lines(&outcome), expected);
    assert_eq!(outcome.ended[0].at, 4_500);
    assert_eq!(outcome.ended[0].answered, Some(2_500));
    assert_eq!(outcome.ended[2].at, 8_500);
}

/// Checks that the last bytes of a result say how it went, if they were captured,
/// whatever comes between its end and the server being ready; and that nothing is
/// claimed where they weren't, or where several could have failed.
#[test]
fn last_bytes() {
    const FIRST_AND_LAST: u8 = 1 | 4 | 16;
    let query = |text: &str| message(b'Q', &[text.as_bytes(), b"\0"].concat());
    let rows = |end: &[Vec<u8>]| [message(b'D', &[1; 9_000]), end.concat()].concat();
    let error = || message(b'E', b"SERROR\0VERROR\0C57014\0Mcanceled\0\0");
    let notice = || message(b'N', b"SNOTICE\0C00000\0\0");
    let outcome = conversation(&[
        (0, query("select 1 from a")),
        (FIRST_AND_LAST, rows(&[error(), ready()])),
        (0, query("select 2 from b")),
        (FIRST_AND_LAST, rows(&[])),
        (
            FIRST_AND_LAST,
            rows(&[done("SELECT 70"), notice(), ready()]),
        ),
        (0, query("select 3 from c")),
        (5, rows(&[error(), ready()])),
        (0, query("select 4 from d; select 5 from d")),
        (FIRST_AND_LAST, rows(&[done("SELECT 9"), ready()])),
        (
            0,
            [
                message(b'P', b"\0select 6 from e\0\0\0"),
                message(b'B', b"\0\0\0\0\0\0\0\0"),
                message(b'E', b"\0\0\0\0\0"),
                message(b'S', b""),
            ]
            .concat(),
        ),
        (FIRST_AND_LAST, rows(&[error(), ready()])),
        // What went wrong comes at once, and that the server is ready afterwards.
        (0, query("select 8 from g")),
        (FIRST_AND_LAST, rows(&[error()])),
        (1, ready()),
        (0, query("select 9 from h")),
        (FIRST_AND_LAST, rows(&[error()])),
        (FIRST_AND_LAST, rows(&[])),
        (1, ready()),
        // Found again.
        (0, query("select 7 from f")),
        (1, [done("SELECT 1"), ready()].concat()),
    ]);
    let expected = [
        "SELECT a !57014: select ? from a",
        "SELECT b =70: select ? from b",
        "SELECT c ?: select ? from c",
        "BATCH SELECT d: select ? from d; select ? from d",
        "SELECT e !57014: select ? from e",
        "SELECT g !57014: select ? from g",
        "SELECT h ?: select ? from h",
        "SELECT f =1: select ? from f",
    ];
    assert_eq!(lines(&outcome), expected);
    let ends: Vec<_> = outcome.ended.iter().map(|ended| ended.at).collect();
    let expected = [2_500, 5_500, 7_500, 9_500, 11_500, 14_500, 18_500, 20_500];
    assert_eq!(ends, expected);
    assert_eq!(outcome.failed, 0);
}

/// Checks that a text that is cut loses its end and nothing else, and that the
/// next question is found again by its length.
#[test]
fn long_texts() {
    let long = format!("insert into t values ('{}', 'secret')\0", "x".repeat(5_000));
    let outcome = conversation(&[
        (4, message(b'Q', long.as_bytes())),
        (1, [done("INSERT 0 1"), ready()].concat()),
        (0, message(b'Q', b"begin\0")),
        (1, [done("BEGIN"), ready()].concat()),
    ]);
    assert_eq!(
        lines(&outcome),
        ["INSERT t =1: insert into t values (?", "BEGIN: begin"]
    );
    assert_eq!(outcome.failed, 0);
}

/// Checks that pieces that were lost are left behind, and that what follows
/// isn't taken for theirs.
#[test]
fn missed_pieces() {
    let query = |text: &str| message(b'Q', &[text.as_bytes(), b"\0"].concat());
    let outcome = conversation(&[
        (0, query("select 1 from a")),
        (3, message(b'D', b"\0\0")),
        (1, [done("SELECT 1"), ready()].concat()),
        (0, query("select 1 from b")),
        (1, [done("SELECT 1"), ready()].concat()),
        (2, query("select 1 from c")),
        (1, [done("SELECT 1"), ready()].concat()),
    ]);
    assert_eq!(outcome.abandoned, 1);
    let expected = [
        "SELECT b =1: select ? from b",
        "SELECT c =1: select ? from c",
    ];
    assert_eq!(lines(&outcome), expected);
}

/// Checks that nothing of the fuzz target's corpus breaks a promise.
#[test]
fn fuzz_corpus() {
    corpus("postgresql", |data| {
        play(&mut Postgres::new(), &pieces(data));
    });
}
