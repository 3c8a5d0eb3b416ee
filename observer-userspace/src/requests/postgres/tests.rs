use super::Postgres;
use crate::requests::replays::{lines, replay};

/// Checks a conversation of psycopg's with PostgreSQL 15.
#[test]
fn psycopg() {
    let outcome = replay(
        include_bytes!("../fixtures/postgres-psycopg"),
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
        include_bytes!("../fixtures/postgres-asyncpg"),
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
