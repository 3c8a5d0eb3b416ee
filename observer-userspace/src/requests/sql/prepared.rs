//! A connection's prepared statements.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Statement;

/// Statements that one connection is known to have prepared; the one that
/// wasn't used for longest is forgotten first.
const MAX_PREPARED: usize = 256;

/// Statements by number, or by hash of a name. (A collision, which only the
/// connection's own client could arrange, gives its other statement.)
#[derive(Default)]
pub struct Prepared {
    statements: FxHashMap<u64, (Arc<Statement>, u64)>,
    now: u64,
}

impl Prepared {
    /// Remembers it.
    pub fn insert(&mut self, key: u64, statement: Arc<Statement>) {
        if self.statements.len() >= MAX_PREPARED && !self.statements.contains_key(&key) {
            let oldest = self.statements.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.statements.remove(&oldest);
            }
        }
        self.now += 1;
        self.statements.insert(key, (statement, self.now));
    }

    /// The one that is used now.
    pub fn get(&mut self, key: u64) -> Option<&Arc<Statement>> {
        self.now += 1;
        let (statement, used) = self.statements.get_mut(&key)?;
        *used = self.now;
        Some(statement)
    }

    /// It was closed.
    pub fn remove(&mut self, key: u64) {
        self.statements.remove(&key);
    }

    /// All were closed.
    pub fn clear(&mut self) {
        self.statements.clear();
    }
}
