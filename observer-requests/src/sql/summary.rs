//! What a statement does, in a few words: `db.query.summary` of OpenTelemetry's
//! conventions ("Generating a summary of the query"): operations and their
//! targets in the order of the text, without anything of high cardinality.

mod walk;

use sqlparser::dialect::{Dialect as Rules, MySqlDialect, PostgreSqlDialect};
use sqlparser::tokenizer::{Token, Tokenizer};

use super::Dialect;
use super::words::{BATCHES, DEFINE, FIRST};
use walk::Walk;

/// Longest summary in bytes, by the conventions.
const MAX_SUMMARY: usize = 255;

/// What was found.
#[derive(Debug, Default)]
pub struct Summary {
    /// See [`super::Statement`].
    pub operation: &'static str,
    /// The same.
    pub summary: String,
    /// The same.
    pub collection: Option<String>,
    /// The same.
    pub count: u32,
}

fn one_of(word: &str, words: &[&'static str]) -> Option<&'static str> {
    words
        .iter()
        .copied()
        .find(|known| word.eq_ignore_ascii_case(known))
}

/// The known operation that this word is; empty if none.
pub fn operation(word: &str) -> &'static str {
    one_of(word, FIRST).or(one_of(word, &DEFINE)).unwrap_or("")
}

/// What `text`, which has no literals, does.
pub fn summarize(text: &str, dialect: Dialect) -> Summary {
    let rules: &dyn Rules = match dialect {
        Dialect::Postgres => &PostgreSqlDialect {},
        Dialect::MySql | Dialect::MySqlPlain => &MySqlDialect {},
    };
    // At an error (the text is cut), what came before it counts.
    let mut tokens = Vec::new();
    let mut tokenizer = Tokenizer::new(rules, text).with_unescape(false);
    let _cut = tokenizer.tokenize_with_location_into_buf(&mut tokens);
    let tokens: Vec<Token> = tokens
        .into_iter()
        .map(|token| token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect();

    let mut statements = tokens
        .split(|token| *token == Token::SemiColon)
        .filter(|tokens| !tokens.is_empty())
        .map(|tokens| Walk::new(tokens).whole());
    let Some(first) = statements.next() else {
        return Summary::default();
    };
    let mut all = first;
    let (mut same_summary, mut same_operation) = (true, true);
    for next in statements {
        all.count += 1;
        same_summary &= next.summary == all.summary;
        same_operation &= next.operation == all.operation;
        if next.collection != all.collection {
            all.collection = None;
        }
    }
    if all.count > 1 {
        let known = BATCHES.iter().find(|(one, _)| *one == all.operation);
        all.operation = match known {
            Some((_, batch)) if same_operation => batch,
            _ => "BATCH",
        };
        if same_summary && all.summary.len() + 6 <= MAX_SUMMARY {
            all.summary.insert_str(0, "BATCH ");
        } else {
            "BATCH".clone_into(&mut all.summary);
        }
    }
    all
}
