//! Lays rows out as the words of a table.

use std::collections::HashMap;

use observer_common::unwind::{CHUNK_WORDS, HEADER_WORDS, MAX_RULES, PAGE_SHIFT, Rule};

use super::Table;
use super::rule::{END, UNKNOWN, UNSUPPORTED};

/// A table under construction. Rows come by rising address.
pub struct Encoder {
    /// Room for header and page index, then the rows so far.
    words: Vec<u32>,
    /// Where the rows start.
    first: usize,
    /// The first row of each page that has begun.
    index: Vec<u32>,
    /// Pages of the table.
    pages: usize,
    /// Address and rule of a row that the next may still replace.
    waiting: (u32, u16),
    /// Rule of the last row that was written.
    written: u16,
    rules: Vec<Rule>,
    numbers: HashMap<Rule, u16>,
    /// The number of "unsupported".
    unsupported: u16,
    /// Numbers + 1 of rules met lately, by [`place`]: most functions have the
    /// same few hundred, and hashing each anew takes longer than all else.
    recent: [(Rule, u32); RECENT],
}

/// Rules remembered.
const RECENT: usize = 256;

/// Where a rule is remembered.
fn place(rule: &Rule) -> usize {
    let mix = |sum: u32, word: u32| (sum ^ word).wrapping_mul(0x9e37_79b1);
    rule.to_words().into_iter().fold(0, mix) as usize >> 24
}

impl Encoder {
    /// For code of `end` bytes from the table's base.
    pub fn new(end: u32) -> Self {
        let pages = (end as usize).div_ceil(1 << PAGE_SHIFT);
        let first = HEADER_WORDS as usize + pages + 1;
        let mut encoder = Self {
            words: vec![0; first],
            first,
            index: Vec::with_capacity(pages + 1),
            pages,
            waiting: (0, 0),
            written: 0,
            rules: Vec::new(),
            numbers: HashMap::new(),
            unsupported: 0,
            recent: [(UNKNOWN, 0); RECENT],
        };
        // They have numbers even when all others are taken. Nothing is known
        // about what comes before the first row.
        for rule in [UNKNOWN, UNSUPPORTED, END] {
            encoder.number(rule);
        }
        encoder.unsupported = encoder.number(UNSUPPORTED);
        encoder
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.words.len() - self.first
    }

    /// From `address` on `rule` applies. Of several rows for one address the
    /// last counts; a row before the last one's address or behind the table's
    /// end is passed over.
    pub fn push(&mut self, address: u32, rule: Rule) {
        let (waiting, _) = self.waiting;
        if address < waiting || (address >> PAGE_SHIFT) as usize >= self.pages {
            return;
        }
        if address > waiting {
            self.write();
        }
        self.waiting = (address, self.number(rule));
    }

    /// Writes the row that waits, unless the one before says the same.
    fn write(&mut self) {
        let (address, rule) = self.waiting;
        self.begin_pages((address >> PAGE_SHIFT) as usize);
        let word = row(address, rule);
        if address.is_multiple_of(1 << PAGE_SHIFT) {
            // Beginning the page has left a row for this address.
            if let Some(last) = self.words.last_mut() {
                *last = word;
            }
        } else if rule != self.written {
            self.words.push(word);
        }
        self.written = rule;
    }

    /// Begins the pages up to `page`, each with the rule of what lies before.
    fn begin_pages(&mut self, page: usize) {
        while self.index.len() <= page {
            let address = (self.index.len() << PAGE_SHIFT) as u32;
            self.index.push(self.rows() as u32);
            self.words.push(row(address, self.written));
        }
    }

    /// The number of a rule; that of "unsupported" when there are too many.
    fn number(&mut self, rule: Rule) -> u16 {
        let place = place(&rule);
        if let Some((known, number)) = self.recent.get(place)
            && *known == rule
            && let Some(number) = number.checked_sub(1)
        {
            return number as u16;
        }
        let number = match self.numbers.get(&rule) {
            Some(number) => *number,
            None if self.rules.len() < MAX_RULES => {
                let number = self.rules.len() as u16;
                self.rules.push(rule);
                self.numbers.insert(rule, number);
                number
            }
            None => self.unsupported,
        };
        if let Some(recent) = self.recent.get_mut(place) {
            *recent = (rule, u32::from(number) + 1);
        }
        number
    }

    /// The table.
    pub fn finish(mut self, base: u64) -> Table {
        if let Some(last) = self.pages.checked_sub(1) {
            self.write();
            self.begin_pages(last);
        }
        let rows = self.rows();
        let rules = (self.first + rows).next_multiple_of(Rule::WORDS as usize);
        let header = [self.pages, self.first, rules, self.rules.len()];
        const { assert!(HEADER_WORDS == 4) };
        self.index.push(rows as u32);
        let header = header.into_iter().map(|value| value as u32);
        for (word, value) in self.words.iter_mut().zip(header.chain(self.index)) {
            *word = value;
        }
        let end = rules + self.rules.len() * Rule::WORDS as usize;
        let whole = end.next_multiple_of(CHUNK_WORDS);
        self.words.reserve_exact(whole - self.words.len());
        self.words.resize(rules, 0);
        for rule in &self.rules {
            self.words.extend(rule.to_words());
        }
        self.words.resize(whole, 0);
        Table {
            base,
            words: self.words,
            rows,
            rules: self.rules.len(),
        }
    }
}

/// A row's word.
fn row(address: u32, rule: u16) -> u32 {
    address << 16 | u32::from(rule)
}

#[cfg(test)]
mod tests {
    use observer_common::unwind::search;

    use super::*;

    /// A rule that is like no other.
    fn rule(number: usize) -> Rule {
        Rule {
            cfa_offset: number as i32,
            ..END
        }
    }

    fn found(table: &Table, address: u32) -> Option<Rule> {
        let at = search(address, |at| table.words.get(at as usize).copied())? as usize;
        let words = &table.words[at..at + Rule::WORDS as usize];
        Some(Rule::from_words(words.try_into().ok()?))
    }

    /// Checks that rows which say the same are one, that the last row for an
    /// address counts, and that each page has a first row.
    #[test]
    fn rows() {
        const PAGE: u32 = 1 << PAGE_SHIFT;
        let mut encoder = Encoder::new(3 * PAGE);
        for (address, number) in [
            (0x10, 1),
            (0x20, 2),
            (0x20, 1),
            (0x30, 3),
            (0x38, 4),
            (0x38, 3),
            (PAGE, 5),
            (2 * PAGE + 8, 6),
            // Not by rising address, and behind the end.
            (0, 7),
            (3 * PAGE, 8),
        ] {
            encoder.push(address, rule(number));
        }
        let table = encoder.finish(0x1000);
        assert_eq!(table.rows, 3 + 1 + 2);
        for (address, expected) in [
            (0, UNKNOWN),
            (0x10, rule(1)),
            (0x2f, rule(1)),
            (0x30, rule(3)),
            (PAGE - 1, rule(3)),
            (PAGE, rule(5)),
            (2 * PAGE, rule(5)),
            (2 * PAGE + 8, rule(6)),
        ] {
            assert_eq!(found(&table, address), Some(expected), "{address:#x}");
        }
        assert_eq!(found(&table, 3 * PAGE), None);
    }

    /// Checks that more rules than rows can name are "unsupported", and that the
    /// first ones stay what they are.
    #[test]
    fn too_many_rules() {
        let count = MAX_RULES + 10;
        let mut encoder = Encoder::new(count as u32 + 1);
        for number in 0..count {
            encoder.push(number as u32, rule(number + 1));
        }
        let table = encoder.finish(0);
        assert_eq!(table.rules, MAX_RULES);
        assert_eq!(found(&table, 5), Some(rule(6)));
        assert_eq!(found(&table, MAX_RULES as u32), Some(UNSUPPORTED));
        assert_eq!(found(&table, count as u32 - 1), Some(UNSUPPORTED));
    }
}
