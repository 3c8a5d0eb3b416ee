use super::*;
use crate::testing::quoting;
use crate::testing::replays::corpus;

fn text(sql: &str, dialect: Dialect) -> String {
    describe(sql, dialect).text.to_string()
}

/// Checks what becomes of literals, comments and white space.
#[test]
fn literals_become_question_marks() {
    use Dialect::{MySql, MySqlPlain, Postgres};
    let cases = [
        (
            Postgres,
            "SELECT  *\n FROM t -- c 'x'\n WHERE a = 'b''c'",
            "SELECT * FROM t WHERE a = ?",
        ),
        (
            Postgres,
            "select E'a\\'b' , $$x'y$$, $t$ $$ $t$, $1",
            "select ?, ?, ?, $1",
        ),
        (
            Postgres,
            "select B'01', x'ff', N'a', U&'d' x",
            "select ?, ?, ?, ? x",
        ),
        (
            Postgres,
            "where a=-1.5e-3 and b in (1, 2,3) and c in ($1,$2)",
            "where a=? and b in (?) and c in (?)",
        ),
        (
            Postgres,
            "insert into t values (1,'a',now()),(2,'b',now())",
            "insert into t values (?,now()),(?,now())",
        ),
        (
            Postgres,
            "insert into t values (1,'a'), (2,'b') , (3, 'c')",
            "insert into t values (?)",
        ),
        (
            Postgres,
            "insert into t values (1,'a'), (2,'b'), (3, 'c');",
            "insert into t values (?)",
        ),
        (
            Postgres,
            "select \"a b\".\"c\" /* /* n */ */ from x1",
            "select \"a b\".\"c\" from x1",
        ),
        (Postgres, "select 'C:\\', 'secret'", "select ?"),
        (Postgres, "select 'unterminated", "select ?"),
        (Postgres, "select $tag$unterminated", "select ?"),
        (
            Postgres,
            "select 0x1F, 0b11, 1_000, .5, 1., t.c1, a[1]",
            "select ?, ?, ?, ?, ?, t.c1, a[?]",
        ),
        (
            MySql,
            "select \"a\\\"b\", 'c\\'d', `e f`, 0xff, x'1', b'1', _utf8'x'",
            "select ?, ?, `e f`, ?, ?, ?, ?",
        ),
        (MySql, "select 1 # c\n, 2 -- d\n, 3--4", "select ?, ?, ?--?"),
        (MySql, "/*!40101 SET NAMES utf8 */", "SET NAMES utf8"),
        (MySql, "/*!40101 SET NAMES 'utf8' */ a", "SET NAMES ?"),
        (MySqlPlain, "select 'a\\', 'b'", "select ?"),
        (MySqlPlain, "select 'a\\n', 'b'", "select ?, ?"),
    ];
    let settings = [
        (
            Postgres,
            "set a.token to secret; set b = \"secret\"",
            "set a.token to ?; set b = ?",
        ),
        (Postgres, "update t set a = b", "update t set a = b"),
        (
            MySql,
            "SET autocommit = ON, @a := secret",
            "SET autocommit = ON, @? := ?",
        ),
        (MySql, "SET NAMES utf8", "SET NAMES utf8"),
    ];
    for (dialect, sql, expected) in cases.into_iter().chain(settings) {
        assert_eq!(text(sql, dialect), expected, "{sql}");
    }
}

/// Checks operations and targets: OpenTelemetry's own examples, and others.
#[test]
fn summaries() {
    let cases = [
        (
            "SELECT * FROM wuser_table WHERE username = ?",
            "SELECT wuser_table",
        ),
        (
            "INSERT INTO shipping_details (order_id, address) SELECT order_id, address FROM orders WHERE order_id = 1",
            "INSERT shipping_details SELECT orders",
        ),
        (
            "SELECT * FROM songs, artists WHERE songs.artist_id = artists.id",
            "SELECT songs artists",
        ),
        (
            "SELECT order_date FROM (SELECT * FROM orders o JOIN customers c ON o.customer_id = c.customer_id) x",
            "SELECT SELECT orders customers",
        ),
        (
            "SELECT * FROM \"song list\", s.artists",
            "SELECT \"song list\" s.artists",
        ),
        (
            "select extract(year from d) from t where a is distinct from b",
            "SELECT t",
        ),
        (
            "select substring(x from 2), trim(both 'x' from y) from only t",
            "SELECT t",
        ),
        (
            "update t set a = 1 where b in (select c from u) returning a, b",
            "UPDATE t SELECT u",
        ),
        ("delete from t using u where t.a = u.a", "DELETE t u"),
        ("select * from t for update", "SELECT t"),
        (
            "insert into t values (1) on conflict (a) do update set b = 1",
            "INSERT t",
        ),
        (
            "with a as (select * from t) select * from a join u using (x)",
            "SELECT t SELECT u",
        ),
        (
            "with a as (select 1) insert into t select * from a",
            "SELECT INSERT t SELECT",
        ),
        (
            "create table if not exists t (a int references u)",
            "CREATE TABLE t",
        ),
        (
            "create unique index concurrently i on t (a)",
            "CREATE INDEX i",
        ),
        ("drop table t", "DROP TABLE t"),
        ("alter table s.t add column x int", "ALTER TABLE s.t"),
        ("create user bob password 'x'", "CREATE USER"),
        ("truncate table t, u", "TRUNCATE t u"),
        ("BEGIN", "BEGIN"),
        ("savepoint sp_123", "SAVEPOINT"),
        ("set search_path to x", "SET"),
        ("copy t (a, b) from stdin", "COPY t"),
        ("copy (select * from t) to stdout", "COPY SELECT t"),
        ("explain analyze select * from t", "EXPLAIN SELECT t"),
        (
            "merge into t using u on t.a = u.a when matched then update set b = 1",
            "MERGE t u",
        ),
        ("call f(1)", "CALL f"),
        ("select 1; select 2", "BATCH SELECT"),
        (
            "insert into t values (1); insert into t values (2);",
            "BATCH INSERT t",
        ),
        ("begin; select 1; commit", "BATCH"),
        (
            "select a, b from t t1, u where c = (select max(d) from v), e",
            "SELECT t u SELECT v",
        ),
        (
            "select from_date, update from t left join lateral (select 1 from v) y on true",
            "SELECT t SELECT v",
        ),
        ("nonsense secret", ""),
        ("", ""),
    ];
    for (sql, expected) in cases {
        let found = describe(sql, Dialect::Postgres);
        assert_eq!(&*found.summary, expected, "{sql}");
    }
    let mysql = describe("insert ignore t select * from `u`", Dialect::MySql);
    assert_eq!(&*mysql.summary, "INSERT t SELECT `u`");
    let one = describe("select * from \"T\" where a = 1", Dialect::Postgres);
    assert_eq!(one.collection.as_deref(), Some("T"));
    let batch = describe("update t set a=1; update t set a=2", Dialect::Postgres);
    assert_eq!((batch.operation, batch.count), ("BATCH UPDATE", 2));
}

/// Checks that no literal comes out, in whatever way it is quoted, whatever is
/// in it, and wherever the statement is cut.
#[test]
fn no_literal_survives() {
    let mut random = fastrand::Rng::with_seed(1);
    let bytes = b"'\"\\`$-/*#;eEx \n\0a?1\xc3\xa9";
    for _ in 0..20_000 {
        let data: Vec<u8> = (0..random.usize(..120))
            .map(|_| {
                if random.bool() {
                    bytes[random.usize(..bytes.len())]
                } else {
                    random.u8(..)
                }
            })
            .collect();
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::MySqlPlain] {
            let text = quoting::statement(&data, dialect);
            quoting::check(&text, random.usize(..=text.len()), dialect);
        }
    }
}

/// Checks that a statement from the cache is the one that is described, for
/// more statements than it holds, and that it stays small.
#[test]
fn cache_agrees() {
    let mut random = fastrand::Rng::with_seed(2);
    let mut cache = Cache::default();
    for _ in 0..20_000 {
        let text = format!(
            "SELECT a{} FROM t WHERE b = {} AND c = '{}'",
            random.u32(..3000),
            random.u32(..3),
            random.u32(..2)
        );
        let found = cache.describe(text.as_bytes(), Dialect::Postgres);
        assert_eq!(*found, describe(&text, Dialect::Postgres));
    }
}

/// Checks that nothing of the fuzz target's corpus breaks a promise.
#[test]
fn fuzz_corpus() {
    corpus("sql", |data| {
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::MySqlPlain] {
            let text = quoting::statement(data, dialect);
            quoting::check(&text, data.len(), dialect);
            let kept = Cache::default().describe(data, dialect);
            assert!(kept.text.len() <= 2048 && kept.summary.len() <= 255);
        }
    });
}

/// Checks that a connection's statements are few, and that those which were
/// used last stay.
#[test]
fn prepared_are_bounded() {
    let mut prepared = Prepared::default();
    let long = Arc::new(describe(&"a ".repeat(1500), Dialect::Postgres));
    let short = Arc::new(describe("select a from t", Dialect::Postgres));
    prepared.insert(0, short.clone());
    for (key, statement) in (1..1000).map(|key| (key, if key < 500 { &long } else { &short })) {
        prepared.insert(key, statement.clone());
        assert_eq!(prepared.get(0), Some(&short));
        assert_eq!(prepared.get(key), Some(statement));
        let held = (0..1000).filter(|key| prepared.contains(*key)).count();
        assert!(held <= if key < 500 { 64 * 1024 / 2048 + 1 } else { 256 });
    }
    prepared.remove(0);
    assert_eq!(prepared.get(0), None);
}

/// Checks MariaDB's settings for one statement: the statement is what is done, and
/// the settings' values are no more told than others.
#[test]
fn set_statement() {
    for (text, summary, scrubbed) in [
        (
            "SET STATEMENT max_statement_time=2, x=hush FOR select a from t where b = 'hush'",
            "SELECT t",
            "SET STATEMENT max_statement_time=?, ?=? FOR select a from t where b = ?",
        ),
        ("set statement a=hush", "SET", "set statement a=?"),
        ("set a=hush for b", "SET", "set a=? ? ?"),
    ] {
        let found = describe(text, Dialect::MySql);
        assert_eq!(&*found.summary, summary, "{text}");
        assert_eq!(&*found.text, scrubbed, "{text}");
    }
}
