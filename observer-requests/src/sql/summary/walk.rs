//! One statement, token by token.

use sqlparser::tokenizer::{Token, Word};

use super::{MAX_SUMMARY, Summary, one_of};
use crate::sql::words::{BETWEEN, CLAUSES, DEFINE, FIRST, KINDS};

/// Parentheses inside of each other that are told apart.
const MAX_DEPTH: usize = 32;

/// What is under way inside one pair of parentheses.
#[derive(Clone, Copy, Default)]
struct Level {
    /// A statement's own: FROM names tables here.
    statement: bool,
    /// A list of tables, in which the next comma precedes another one.
    tables: bool,
}

/// One statement's walk.
pub(super) struct Walk<'a> {
    tokens: &'a [Token],
    at: usize,
    found: Summary,
    full: bool,
    targets: u32,
    levels: [Level; MAX_DEPTH],
    /// What is deeper.
    deeper: Level,
    depth: usize,
    /// Names that WITH gives to queries: no tables.
    named: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(tokens: &'a [Token]) -> Self {
        Self {
            tokens,
            at: 0,
            found: Summary {
                count: 1,
                ..Summary::default()
            },
            full: false,
            targets: 0,
            levels: [Level::default(); MAX_DEPTH],
            deeper: Level::default(),
            depth: 0,
            named: Vec::new(),
        }
    }

    pub(super) fn whole(mut self) -> Summary {
        self.first();
        while self.at < self.tokens.len() {
            self.step();
        }
        let operation = self.found.operation;
        let no_table = ["USE", "CALL", "EXECUTE"].contains(&operation)
            || (operation.contains(' ') && !operation.ends_with(" TABLE"));
        if self.targets != 1 || no_table {
            self.found.collection = None;
        }
        self.found
    }

    /// The token before the one at `at`.
    fn before(&self, at: usize) -> Option<&'a Token> {
        self.tokens.get(at.checked_sub(1)?)
    }

    fn word(&self, at: usize) -> Option<&'a Word> {
        match self.tokens.get(at) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// A word that isn't a quoted name.
    fn plain(&self, at: usize) -> Option<&'a str> {
        self.word(at)
            .filter(|word| word.quote_style.is_none())
            .map(|word| word.value.as_str())
    }

    fn is(&self, at: usize, words: &[&'static str]) -> bool {
        self.plain(at).is_some_and(|w| one_of(w, words).is_some())
    }

    /// The statement's first word.
    fn first(&mut self) {
        while matches!(self.tokens.get(self.at), Some(Token::LParen)) {
            self.open();
        }
        self.level().statement = true;
        let Some(word) = self.plain(self.at) else {
            return;
        };
        // MariaDB: settings for one statement, which follows.
        if word.eq_ignore_ascii_case("SET")
            && self.is(self.at + 1, &["STATEMENT"])
            && let Some(at) = (self.at + 2..self.tokens.len()).find(|at| self.is(*at, &["FOR"]))
        {
            self.at = at + 1;
            return self.first();
        }
        if word.eq_ignore_ascii_case("WITH") {
            self.at += 1;
            return;
        }
        if let Some(define) = one_of(word, &DEFINE) {
            self.define(define);
            return;
        }
        let Some(known) = one_of(word, FIRST) else {
            self.at += 1;
            return;
        };
        self.at += 1;
        match known {
            "SELECT" | "EXPLAIN" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "REPLACE" => {
                self.at -= 1;
                if known == "EXPLAIN" || known == "REPLACE" {
                    self.operation(known);
                    self.at += 1;
                    if known == "REPLACE" {
                        self.target_behind();
                    }
                }
            }
            "DESC" => self.operation("DESCRIBE"),
            "PREPARE" | "DECLARE" => {
                self.operation(known);
                self.at += 1;
            }
            "CALL" | "EXECUTE" | "TRUNCATE" | "COPY" | "LOCK" | "TABLE" | "VACUUM" | "ANALYZE"
            | "OPTIMIZE" | "REFRESH" | "USE" | "CLUSTER" => {
                self.operation(known);
                // COPY (SELECT …) and VACUUM (VERBOSE) t.
                let parenthesis = matches!(self.tokens.get(self.at), Some(Token::LParen));
                if !parenthesis {
                    self.target_behind();
                    if known == "COPY" {
                        // FROM stdin, or a file.
                        self.at = self.tokens.len();
                    }
                }
            }
            _ => {
                self.operation(known);
                // Names of savepoints, channels and settings aren't told.
                self.at = self.tokens.len();
            }
        }
    }

    /// CREATE, DROP or ALTER: the word `define`.
    fn define(&mut self, define: &'static str) {
        // CREATE OR REPLACE UNIQUE … INDEX.
        let kind = (self.at + 1..(self.at + 8).min(self.tokens.len())).find_map(|at| {
            let word = self.plain(at)?;
            let kind = KINDS.iter().find(|(k, _)| word.eq_ignore_ascii_case(k))?;
            Some((at, kind))
        });
        let Some((at, (kind, operations))) = kind else {
            self.operation(define);
            self.at = self.tokens.len();
            return;
        };
        let operation = operations.iter().find(|name| name.starts_with(define));
        self.operation(operation.copied().unwrap_or(define));
        self.at = at + 1;
        if *kind == "USER" || *kind == "ROLE" {
            self.at = self.tokens.len();
            return;
        }
        self.target_behind();
        // What follows is no query, but for CREATE TABLE … AS SELECT.
        while self.at < self.tokens.len() && !self.is(self.at, &["SELECT"]) {
            self.at += 1;
        }
    }

    fn level(&mut self) -> &mut Level {
        self.levels.get_mut(self.depth).unwrap_or(&mut self.deeper)
    }

    fn open(&mut self) {
        self.depth += 1;
        *self.level() = Level::default();
        self.at += 1;
    }

    fn step(&mut self) {
        match self.tokens.get(self.at) {
            Some(Token::LParen) => return self.open(),
            Some(Token::RParen) => self.depth = self.depth.saturating_sub(1),
            Some(Token::Comma) if self.level().tables => {
                self.at += 1;
                self.target_behind();
                return;
            }
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                return self.keyword(&word.value);
            }
            _ => {}
        }
        self.at += 1;
    }

    fn keyword(&mut self, word: &str) {
        let at = self.at;
        self.at += 1;
        // `t.set` is a column.
        if self.before(at) == Some(&Token::Period) {
            return;
        }
        let Some(known) = one_of(
            word,
            &[
                "SELECT",
                "INSERT",
                "UPDATE",
                "DELETE",
                "MERGE",
                "FROM",
                "JOIN",
                "INTO",
                "USING",
                "STRAIGHT_JOIN",
                "AS",
            ],
        ) else {
            if one_of(word, CLAUSES).is_some() && !word.eq_ignore_ascii_case("ON") {
                self.level().tables = false;
            }
            return;
        };
        match known {
            "SELECT" => {
                *self.level() = Level {
                    statement: true,
                    tables: false,
                };
                self.operation(known);
            }
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" => self.change(known, at),
            "FROM" => {
                let distinct = at > 0 && self.is(at - 1, &["DISTINCT"]);
                if self.level().statement && !distinct {
                    self.target_behind();
                }
            }
            "JOIN" | "STRAIGHT_JOIN" => self.target_behind(),
            // MERGE … USING t, DELETE … USING t; but JOIN … USING (column).
            "USING" if self.level().statement && self.word(self.at).is_some() => {
                self.target_behind();
            }
            // SELECT … INTO t: PostgreSQL's CREATE TABLE AS.
            "INTO" if self.level().statement && self.word(self.at).is_some() => {
                let elsewhere = ["OUTFILE", "DUMPFILE", "STRICT"];
                if !self.is(self.at, &elsewhere) {
                    self.target_behind();
                }
            }
            "AS" if !self.level().statement || self.found.operation.is_empty() || at > 0 => {
                self.named_query(at)
            }
            _ => {}
        }
    }

    /// A word that changes rows where a statement begins. Not FOR UPDATE, ON CONFLICT
    /// DO UPDATE, ON DELETE CASCADE, WHEN … THEN UPDATE.
    fn change(&mut self, known: &'static str, at: usize) {
        self.level().tables = false;
        let begins = match self.before(at) {
            None | Some(Token::LParen | Token::RParen) => true,
            Some(_) => self.is(at - 1, &["EXPLAIN", "ANALYZE", "VERBOSE", "AS", "FORMAT"]),
        };
        // A function (MySQL's INSERT()), or a column's name.
        let call = matches!(self.tokens.get(self.at), Some(Token::LParen));
        if !begins || call {
            return;
        }
        self.level().statement = true;
        self.operation(known);
        self.target_behind();
    }

    /// WITH a AS (…): what it is called, and maybe its columns, came before.
    fn named_query(&mut self, at: usize) {
        let parenthesis = matches!(self.tokens.get(self.at), Some(Token::LParen));
        let query = parenthesis
            && self.is(
                self.at + 1,
                &["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES"],
            );
        if query && let Some(name) = self.word(at.wrapping_sub(1)) {
            self.named.push(&name.value);
        }
    }

    /// The name that follows, if it is one.
    fn target_behind(&mut self) {
        self.level().tables = true;
        while self.is(self.at, BETWEEN) {
            self.at += 1;
        }
        if self.is(self.at, CLAUSES) {
            return;
        }
        let mut name = String::new();
        let mut bare = String::new();
        loop {
            let Some(word) = self.word(self.at) else {
                return;
            };
            match word.quote_style {
                Some(quote) => {
                    name.push(quote);
                    name.push_str(&word.value);
                    name.push(quote);
                }
                None => name.push_str(&word.value),
            }
            bare.push_str(&word.value);
            self.at += 1;
            if self.tokens.get(self.at) != Some(&Token::Period) {
                break;
            }
            name.push('.');
            bare.push('.');
            self.at += 1;
        }
        if self.named.iter().any(|named| **named == *bare) {
            return;
        }
        if self.found.collection.as_deref() != Some(&bare) {
            self.targets += 1;
            self.found.collection = Some(bare);
        }
        self.say(&name);
    }

    fn operation(&mut self, operation: &'static str) {
        if self.found.operation.is_empty() {
            self.found.operation = operation;
        }
        self.say(operation);
    }

    /// Appends to the summary, as long as it fits in whole.
    fn say(&mut self, word: &str) {
        let summary = &mut self.found.summary;
        let space = usize::from(!summary.is_empty());
        self.full |= summary.len() + space + word.len() > MAX_SUMMARY;
        if !self.full {
            if space > 0 {
                summary.push(' ');
            }
            summary.push_str(word);
        }
    }
}
