//! Keeps the statements seen last, so that one which comes again costs a
//! look-up.
//!
//! Two levels. The first is found by the text as it came: programs with
//! parameters send the same bytes each time. The second is found by the text
//! without its literals, for programs that put values into the text.

use std::cell::RefCell;
use std::hash::Hasher as _;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};

use super::{Dialect, Statement, describe_scrubbed, scrub};

/// Places of the first level; a power of two.
const PLACES: usize = 512;
/// Longest text in the first level in bytes: 512 KiB in all.
const MAX_RAW: usize = 1024;
/// Statements in the second level, half of them older than the others.
const STATEMENTS: usize = 2048;
/// Bytes of text in the second level.
const MAX_BYTES: usize = 1024 * 1024;
/// How often a text must be displaced before it is.
const STAY: u8 = 3;

#[derive(Default)]
struct Place {
    hash: u64,
    raw: Vec<u8>,
    found: Option<Arc<Statement>>,
    /// Times that other texts may want the place.
    stay: u8,
}

/// Statements by their texts; about 2 MiB at most.
#[derive(Default)]
pub struct Cache {
    places: Vec<Place>,
    young: FxHashMap<u64, Arc<Statement>>,
    old: FxHashMap<u64, Arc<Statement>>,
    young_bytes: usize,
    scrubbed: Vec<u8>,
}

fn hash(text: &[u8], dialect: Dialect) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text);
    hasher.write_u8(dialect as u8);
    hasher.finish()
}

impl Cache {
    /// What `text` says; see [`super::describe`].
    pub fn describe(&mut self, text: &[u8], dialect: Dialect) -> Arc<Statement> {
        if text.len() > MAX_RAW {
            return self.without_literals(text, dialect);
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, Place::default);
        }
        let hash = hash(text, dialect);
        let index = (hash >> 32) as usize % PLACES;
        if let Some(place) = self.places.get_mut(index)
            && let Some(found) = &place.found
            && place.hash == hash
            && found.dialect == dialect
            && place.raw == text
        {
            place.stay = STAY;
            return found.clone();
        }
        let found = self.without_literals(text, dialect);
        let Some(place) = self.places.get_mut(index) else {
            return found;
        };
        if place.stay > 0 {
            place.stay -= 1;
        } else {
            place.hash = hash;
            place.raw.clear();
            place.raw.extend_from_slice(text);
            place.found = Some(found.clone());
        }
        found
    }

    fn without_literals(&mut self, text: &[u8], dialect: Dialect) -> Arc<Statement> {
        self.scrubbed.clear();
        scrub::scrub(text, dialect, &mut self.scrubbed);
        let hash = hash(&self.scrubbed, dialect);
        let same = |found: &Arc<Statement>| {
            found.dialect == dialect && found.text.as_bytes() == self.scrubbed
        };
        if let Some(found) = self.young.get(&hash)
            && same(found)
        {
            return found.clone();
        }
        let found = match self.old.remove(&hash) {
            Some(found) if same(&found) => found,
            _ => Arc::new(describe_scrubbed(&self.scrubbed, dialect)),
        };
        if self.young.len() >= STATEMENTS / 2 || self.young_bytes >= MAX_BYTES / 2 {
            // What nobody asked for since the last time goes.
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += found.text.len();
        self.young.insert(hash, found.clone());
        found
    }
}

thread_local! {
    /// One for all connections that a thread looks after, which is one thread.
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// What `text` says, from this thread's cache.
pub fn cached(text: &[u8], dialect: Dialect) -> Arc<Statement> {
    CACHE.with_borrow_mut(|cache| cache.describe(text, dialect))
}
