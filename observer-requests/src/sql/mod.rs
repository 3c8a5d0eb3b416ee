//! SQL statements: without their literals, and what they do in a few words.
//!
//! Two steps. [`scrub`] takes literals and comments out, byte by byte, and
//! collapses lists of values, so that statements which differ only in their
//! values become one; [`summary`] looks at what is left, once for each that is
//! new. [`cached`] is the way in: it keeps the statements seen last.

mod cache;
mod prepared;
mod scrub;
mod summary;
#[cfg(test)]
mod tests;
mod words;

use std::cell::RefCell;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::call::Asked;

pub use cache::{Cache, cached};
pub use prepared::Prepared;
pub use summary::operation;

/// Whose rules of quoting hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL (documentation, 4.1 "Lexical Structure").
    Postgres,
    /// MySQL (reference manual, 11.1 "Literal Values").
    MySql,
    /// MySQL with `NO_BACKSLASH_ESCAPES`.
    MySqlPlain,
}

/// What is kept of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// `SELECT`, `CREATE TABLE`, `BATCH INSERT`; empty if it isn't a known one.
    pub operation: &'static str,
    /// What `db.query.summary` says: operations and their targets, 255 bytes at
    /// most.
    pub summary: Arc<str>,
    /// The text, with `?` for each literal, without comments; 2 KiB at most.
    pub text: Arc<str>,
    /// The table, if there is just one.
    pub collection: Option<Arc<str>>,
    /// Statements in the text.
    pub count: u32,
    /// By whose rules it was read.
    pub dialect: Dialect,
    /// The same for whoever executes it.
    pub asked: Arc<Asked>,
}

thread_local! {
    /// What is done with statements that weren't seen, by operation: there are
    /// as many as words that the parsers know.
    static UNKNOWN: RefCell<FxHashMap<&'static str, Arc<Asked>>> = RefCell::default();
}

impl Statement {
    /// What is asked for where something else is done with it than to execute
    /// it, or where it isn't known.
    pub fn instead(operation: &'static str, statement: Option<&Self>) -> Arc<Asked> {
        let make = |asked: Asked| {
            Arc::new(Asked {
                operation: operation.into(),
                summary: operation.into(),
                ..asked
            })
        };
        match statement {
            Some(statement) => make((*statement.asked).clone()),
            None => UNKNOWN.with_borrow_mut(|unknown| {
                let known = unknown.entry(operation);
                known.or_insert_with(|| make(Asked::default())).clone()
            }),
        }
    }
}

/// What a statement says, without its literals. The text may be cut anywhere;
/// what is doubtful isn't in the result, nor what follows it.
pub fn describe(text: &str, dialect: Dialect) -> Statement {
    let mut scrubbed = Vec::new();
    scrub::scrub(text.as_bytes(), dialect, &mut scrubbed);
    describe_scrubbed(&scrubbed, dialect)
}

fn describe_scrubbed(scrubbed: &[u8], dialect: Dialect) -> Statement {
    let text = String::from_utf8_lossy(scrubbed);
    let found = summary::summarize(&text, dialect);
    let (summary, text): (Arc<str>, Arc<str>) = (found.summary.into(), text.into());
    let collection: Option<Arc<str>> = found.collection.map(Into::into);
    Statement {
        operation: found.operation,
        summary: summary.clone(),
        text: text.clone(),
        collection: collection.clone(),
        count: found.count,
        dialect,
        asked: Arc::new(Asked {
            operation: found.operation.into(),
            summary,
            text: Some(text),
            collection,
            batch: Some(found.count).filter(|n| *n > 1),
        }),
    }
}
