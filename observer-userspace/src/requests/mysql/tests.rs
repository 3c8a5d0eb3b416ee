use super::MySql;
use crate::requests::replays::{lines, replay};

/// Checks a conversation of PyMySQL's with MariaDB 10.11.
#[test]
fn pymysql() {
    let outcome = replay(include_bytes!("../fixtures/mysql-pymysql"), MySql::new);
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
    let outcome = replay(include_bytes!("../fixtures/mysql-connector"), MySql::new);
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
