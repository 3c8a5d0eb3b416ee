use super::MySql;
use crate::testing::conversation::{Outcome, Piece, pieces, play};
use crate::testing::replays::{corpus, lines, replay};

/// Checks a conversation of PyMySQL's with MariaDB 10.11.
#[test]
fn pymysql() {
    let outcome = replay(include_bytes!("../../fixtures/mysql-pymysql"), MySql::new);
    let expected = [
        "SET =0: SET NAMES utf8mb4",
        "CREATE DATABASE shop =1: create database if not exists shop",
        "USE @shop",
        "CREATE TABLE items @shop =0: create table if not exists items (id int primary key, name text)",
        "DELETE items @shop =0: delete from items",
        "INSERT items @shop =2: insert into items values (?)",
        "SELECT items @shop =1: select * from items where name like ?",
        "SELECT nowhere @shop !1146: select * from nowhere where a = ?",
        "USE mysql @mysql =0: use mysql",
        "UPDATE shop.items @mysql =1: update shop.items set name=? where id=?",
        "PING @mysql",
        "SELECT shop.items @mysql =0: select id from shop.items where id > ?",
    ];
    assert_eq!(lines(&outcome), expected);
}

/// Checks a conversation of MySQL Connector/Python's with MariaDB 10.11.
#[test]
fn connector() {
    let outcome = replay(include_bytes!("../../fixtures/mysql-connector"), MySql::new);
    let expected = [
        "SET @shop =0: SET NAMES ? COLLATE ?",
        "SET @shop =0: SET @@session.autocommit = OFF",
        "PING @shop",
        "PREPARE @shop: select name from items where id = ?",
        "STMT_RESET @shop: select name from items where id = ?",
        "SELECT items @shop =1: select name from items where id = ?",
        "STMT_RESET @shop: select name from items where id = ?",
        "SELECT items @shop =1: select name from items where id = ?",
        "PREPARE @shop: update items set name = ? where id = ?",
        "STMT_RESET @shop: update items set name = ? where id = ?",
        "UPDATE items @shop =1: update items set name = ? where id = ?",
        "PREPARE @shop !1054: select * from items where id = ? and nosuch = ?",
        "PING @shop",
        "SELECT @shop =1: select ?, ?",
        "COMMIT @shop =0: COMMIT",
    ];
    assert_eq!(lines(&outcome), expected);
}

/// Checks that nothing of the fuzz target's corpus breaks a promise.
#[test]
fn fuzz_corpus() {
    corpus("mysql", |data| {
        play(&mut MySql::new(), &pieces(data));
    });
}

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [&length[..3], &[number], payload].concat()
}

fn conversation(pieces: &[(u8, Vec<u8>)]) -> Outcome {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|(flags, bytes)| Piece {
            flags: *flags,
            bytes,
        })
        .collect();
    play(&mut MySql::new(), &pieces)
}

fn query(text: &str) -> (u8, Vec<u8>) {
    (0, packet(0, &[b"\x03", text.as_bytes()].concat()))
}

fn ok(number: u8, rows: u8, status: u8) -> Vec<u8> {
    packet(number, &[0, rows, 0, status, 0, 0, 0])
}

fn eof(number: u8, status: u8) -> Vec<u8> {
    packet(number, &[0xfe, 0, 0, status, 0])
}

/// The greeting of a server that can do these things.
fn greeting(capabilities: u32) -> (u8, Vec<u8>) {
    let [a, b, c, d] = capabilities.to_le_bytes();
    let mut payload = b"\x0a8.0.36\0\x01\0\0\x0012345678\0".to_vec();
    payload.extend([a, b, 8, 2, 0, c, d, 21]);
    payload.extend([0; 23]);
    (1, packet(0, &payload))
}

fn login(capabilities: u32) -> (u8, Vec<u8>) {
    let mut payload = capabilities.to_le_bytes().to_vec();
    payload.extend([0; 28]);
    payload.extend(b"user\0\x06secretshop\0mysql_native_password\0");
    (0, packet(1, &payload))
}

const PLAIN: u32 = 0x0000_8208;
const COMPRESS: u32 = 1 << 5;
const DEPRECATE_EOF: u32 = 1 << 24;
const ATTRIBUTES: u32 = 1 << 27;

/// Checks that the last bytes of a result say how it went, if they were captured;
/// that a further result goes on, and that nothing is claimed of what wasn't seen.
#[test]
fn last_bytes() {
    const FIRST_AND_LAST: u8 = 1 | 4 | 16;
    let begin = || [packet(1, &[1]), packet(2, b"\x03def column"), eof(3, 0)].concat();
    let row = || packet(4, &[b'x'; 9_000]);
    let error = || packet(5, b"\xff\xb1\x07#70100interrupted");
    let ok_end = || packet(5, &[0xfe, 0, 0, 2, 0, 0, 0]);
    let outcome = conversation(&[
        query("select a from a"),
        (FIRST_AND_LAST, [begin(), row(), error()].concat()),
        query("select b from b"),
        (FIRST_AND_LAST, [begin(), row(), eof(5, 2)].concat()),
        query("select c from c"),
        (FIRST_AND_LAST, [begin(), row(), ok_end()].concat()),
        query("call d()"),
        (FIRST_AND_LAST, [begin(), row(), eof(5, 8)].concat()),
        (FIRST_AND_LAST, [begin(), row(), error()].concat()),
        query("select e from e"),
        (5, [begin(), row(), error()].concat()),
        query("select f from f"),
        (1, ok(1, 3, 2)),
    ]);
    let expected = [
        "SELECT a !1969: select a from a",
        "SELECT b: select b from b",
        "SELECT c: select c from c",
        "CALL d !1969: call d()",
        "SELECT e ?: select e from e",
        "SELECT f =3: select f from f",
    ];
    assert_eq!(lines(&outcome), expected);
    assert_eq!(outcome.failed, 0);
}

/// Checks the login: the database, TLS, compression.
#[test]
fn logins() {
    let all = u32::MAX;
    let outcome = conversation(&[
        greeting(all),
        login(PLAIN),
        (1, packet(2, b"\xfecaching_sha2_password\0secret")),
        (0, packet(3, b"secret")),
        (1, ok(4, 0, 2)),
        (0, packet(0, b"\x0e")),
        (1, ok(1, 0, 2)),
        (0, packet(0, b"\x02other")),
        (1, ok(1, 0, 2)),
        (0, packet(0, b"\x02wrong")),
        (1, packet(1, b"\xff\x19\x04#42000Unknown database")),
        (0, packet(0, b"\x01")),
    ]);
    let expected = ["PING @shop", "USE @other", "USE @other !1049"];
    assert_eq!(lines(&outcome), expected);
    assert!(conversation(&[greeting(all), login(PLAIN | COMPRESS)]).finished);
    assert!(!conversation(&[greeting(PLAIN), login(PLAIN | COMPRESS)]).finished);
    let mut tls = (PLAIN | 0x800).to_le_bytes().to_vec();
    tls.extend([0; 28]);
    assert!(conversation(&[greeting(all), (0, packet(1, &tls))]).finished);
}

/// Checks results of one and of several statements, with and without EOF
/// packets, and errors among rows.
#[test]
fn results() {
    let column = |number| {
        packet(
            number,
            b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x03\0\0\0\0\0",
        )
    };
    let row = |number| packet(number, b"\x01x");
    let with_eof = [
        packet(1, &[1]),
        column(2),
        eof(3, 2),
        row(4),
        row(5),
        eof(6, 2),
    ]
    .concat();
    let last = packet(5, &[0xfe, 0, 0, 2, 0, 0, 0]);
    let without = [packet(1, &[1]), column(2), row(3), row(4), last].concat();
    let error = [
        packet(1, &[1]),
        column(2),
        eof(3, 2),
        row(4),
        packet(5, b"\xff\x28\x04"),
    ]
    .concat();
    let several = [
        ok(1, 3, 10),
        packet(2, &[1]),
        column(3),
        eof(4, 10),
        row(5),
        eof(6, 2),
    ]
    .concat();
    let outcome = conversation(&[
        query("select a from t"),
        (1, with_eof),
        query("select a from u"),
        (1, without),
        query("select a from v"),
        (1, error),
        query("update t set a = 1; select a from t"),
        (1, several),
        query("load data local infile 'secret' into table t"),
        (1, packet(1, b"\xfbsecret")),
        (0, [packet(2, b"secret\n"), packet(3, b"")].concat()),
        (1, ok(4, 1, 2)),
    ]);
    let expected = [
        "SELECT t =2: select a from t",
        "SELECT u =2: select a from u",
        "SELECT v !1064 =1: select a from v",
        "BATCH =4: update t set a = ?; select a from t",
        "LOAD =1: load data local infile ? into table t",
    ];
    assert_eq!(lines(&outcome), expected);
    assert_eq!(outcome.failed, 0);
}

/// Checks that a prepared statement's number leads to its text, with and
/// without EOF packets, and that it is forgotten when it is closed.
#[test]
fn prepared_statements() {
    let definition = |number| packet(number, &[3; 30]);
    for capabilities in [PLAIN, PLAIN | DEPRECATE_EOF] {
        let ends = capabilities == PLAIN;
        let mut prepared = packet(1, b"\0\x07\0\0\0\x01\0\x02\0\0\0\0");
        prepared.extend([definition(2), definition(3)].concat());
        if ends {
            prepared.extend(eof(4, 2));
        }
        prepared.extend(definition(5));
        if ends {
            prepared.extend(eof(6, 2));
        }
        let execute = b"\x17\x07\0\0\0\0\x01\0\0\0";
        let outcome = conversation(&[
            greeting(u32::MAX),
            login(capabilities),
            (1, ok(2, 0, 2)),
            (0, packet(0, b"\x16select a from t where b = ? and c = ?")),
            (1, prepared),
            (0, packet(0, execute)),
            (1, ok(1, 0, 2)),
            (
                0,
                [packet(0, b"\x19\x07\0\0\0"), packet(0, execute)].concat(),
            ),
            (1, packet(1, b"\xff\xdb\x04#HY000Unknown")),
        ]);
        let expected = [
            "PREPARE @shop: select a from t where b = ? and c = ?",
            "SELECT t @shop =0: select a from t where b = ? and c = ?",
            " @shop !1243",
        ];
        assert_eq!(lines(&outcome), expected);
    }
}

/// Checks that attributes before a query's text are left out.
#[test]
fn query_attributes() {
    // One attribute: a string `secret` called `secret`.
    let one = b"\x03\x01\x01\0\x01\xfe\0\x06secret\x06secretselect 1 from t";
    let none = b"\x03\0\x01select 1 from u";
    let outcome = conversation(&[
        greeting(u32::MAX),
        login(PLAIN | ATTRIBUTES),
        (1, ok(2, 0, 2)),
        (0, packet(0, one)),
        (1, ok(1, 0, 2)),
        (0, packet(0, none)),
        (1, ok(1, 0, 2)),
    ]);
    let expected = [
        "SELECT t @shop =0: select ? from t",
        "SELECT u @shop =0: select ? from u",
    ];
    assert_eq!(lines(&outcome), expected);
    let midstream = conversation(&[(0, packet(0, none)), (1, ok(1, 0, 2))]);
    assert_eq!(lines(&midstream), ["SELECT u =0: select ? from u"]);
}

/// Checks that where backslashes are nothing special, which the server tells,
/// literals end where they end there.
#[test]
fn no_backslash_escapes() {
    let outcome = conversation(&[
        query("set sql_mode = 'NO_BACKSLASH_ESCAPES'"),
        (1, packet(1, &[0, 0, 0, 2, 2, 0, 0])),
        query("select 'a\\', 'secret' from t"),
        (1, ok(1, 0, 2)),
    ]);
    let expected = ["SET =0: set sql_mode = ?", "SELECT =0: select ?"];
    assert_eq!(lines(&outcome), expected);
}

/// Checks that a result which wasn't captured ends with the next command.
#[test]
fn ends_out_of_sight() {
    let outcome = conversation(&[
        query("select a from t"),
        (9, packet(1, &[1; 300])),
        (13, vec![0; 4000]),
        query("select b from u"),
        (1, ok(1, 0, 2)),
    ]);
    let expected = [
        "SELECT t ?: select a from t",
        "SELECT u =0: select b from u",
    ];
    assert_eq!(lines(&outcome), expected);
    assert_eq!(outcome.ended[0].at, 3_500);
}
