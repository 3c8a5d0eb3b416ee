//! Words of SQL that say what a statement does.

/// Words that begin a statement and say what it does; the second ones are what
/// it may do it to.
#[rustfmt::skip]
pub const FIRST: &[&str] = &[
    "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "CALL", "EXECUTE", "EXPLAIN",
    "DESCRIBE", "DESC", "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT",
    "RELEASE", "SET", "RESET", "SHOW", "USE", "PREPARE", "DEALLOCATE", "DECLARE", "FETCH",
    "MOVE", "CLOSE", "LISTEN", "UNLISTEN", "NOTIFY", "COPY", "LOAD", "LOCK", "UNLOCK",
    "TRUNCATE", "VACUUM", "ANALYZE", "OPTIMIZE", "CHECK", "REPAIR", "REINDEX", "CLUSTER",
    "REFRESH", "GRANT", "REVOKE", "COMMENT", "DISCARD", "DO", "KILL", "FLUSH", "TABLE",
    "VALUES", "HANDLER", "RENAME", "CHECKPOINT", "XA", "INSTALL", "UNINSTALL", "CHANGE", "STOP",
    "BINLOG", "REASSIGN", "SECURITY", "IMPORT", "HELP", "PURGE", "SIGNAL",
];

/// What data definition is about.
pub const KINDS: &[(&str, [&str; 3])] = &[
    ("TABLE", ["CREATE TABLE", "DROP TABLE", "ALTER TABLE"]),
    ("INDEX", ["CREATE INDEX", "DROP INDEX", "ALTER INDEX"]),
    ("VIEW", ["CREATE VIEW", "DROP VIEW", "ALTER VIEW"]),
    (
        "SEQUENCE",
        ["CREATE SEQUENCE", "DROP SEQUENCE", "ALTER SEQUENCE"],
    ),
    ("SCHEMA", ["CREATE SCHEMA", "DROP SCHEMA", "ALTER SCHEMA"]),
    (
        "DATABASE",
        ["CREATE DATABASE", "DROP DATABASE", "ALTER DATABASE"],
    ),
    (
        "FUNCTION",
        ["CREATE FUNCTION", "DROP FUNCTION", "ALTER FUNCTION"],
    ),
    (
        "PROCEDURE",
        ["CREATE PROCEDURE", "DROP PROCEDURE", "ALTER PROCEDURE"],
    ),
    (
        "TRIGGER",
        ["CREATE TRIGGER", "DROP TRIGGER", "ALTER TRIGGER"],
    ),
    ("TYPE", ["CREATE TYPE", "DROP TYPE", "ALTER TYPE"]),
    (
        "EXTENSION",
        ["CREATE EXTENSION", "DROP EXTENSION", "ALTER EXTENSION"],
    ),
    ("ROLE", ["CREATE ROLE", "DROP ROLE", "ALTER ROLE"]),
    ("USER", ["CREATE USER", "DROP USER", "ALTER USER"]),
    ("DOMAIN", ["CREATE DOMAIN", "DROP DOMAIN", "ALTER DOMAIN"]),
    ("POLICY", ["CREATE POLICY", "DROP POLICY", "ALTER POLICY"]),
    (
        "PUBLICATION",
        [
            "CREATE PUBLICATION",
            "DROP PUBLICATION",
            "ALTER PUBLICATION",
        ],
    ),
    ("EVENT", ["CREATE EVENT", "DROP EVENT", "ALTER EVENT"]),
];
/// What defines data.
pub const DEFINE: [&str; 3] = ["CREATE", "DROP", "ALTER"];

/// Words between an operation and its target.
#[rustfmt::skip]
pub const BETWEEN: &[&str] = &[
    "INTO", "FROM", "TABLE", "ONLY", "IF", "NOT", "EXISTS", "CONCURRENTLY", "IGNORE",
    "LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "MATERIALIZED", "VIEW", "LATERAL",
    "TABLES", "FULL", "VERBOSE", "FREEZE", "LOCAL", "OVERWRITE",
];

/// Words that can't be a target, nor an alias: a clause begins.
#[rustfmt::skip]
pub const CLAUSES: &[&str] = &[
    "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "SET",
    "VALUES", "RETURNING", "FOR", "WINDOW", "OFFSET", "FETCH", "SELECT", "DEFAULT", "WHEN",
    "PROCEDURE", "INSERT", "UPDATE", "DELETE", "WITH", "TO", "CASCADE", "RESTRICT", "ADD", "ON",
];

/// Operations of which a text may have several, all alike.
pub const BATCHES: &[(&str, &str)] = &[
    ("SELECT", "BATCH SELECT"),
    ("INSERT", "BATCH INSERT"),
    ("UPDATE", "BATCH UPDATE"),
    ("DELETE", "BATCH DELETE"),
    ("REPLACE", "BATCH REPLACE"),
    ("MERGE", "BATCH MERGE"),
    ("CALL", "BATCH CALL"),
    ("SET", "BATCH SET"),
    ("SHOW", "BATCH SHOW"),
];
