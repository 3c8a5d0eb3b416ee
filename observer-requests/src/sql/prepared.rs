//! A connection's prepared statements.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Statement;

/// Statements that one connection is known to have prepared; the one that
/// wasn't used for longest is forgotten first.
const MAX_PREPARED: usize = 256;
/// Bytes of their texts, which they mostly share with other connections.
const MAX_BYTES: usize = 64 * 1024;

/// Statements by number, or by hash of a name. (A collision, which only the
/// connection's own client could arrange, gives its other statement.)
#[derive(Default)]
pub struct Prepared {
    statements: FxHashMap<u64, (Arc<Statement>, u64)>,
    bytes: usize,
    now: u64,
}

impl Prepared {
    /// Remembers it.
    pub fn insert(&mut self, key: u64, statement: Arc<Statement>) {
        self.remove(key);
        while self.statements.len() >= MAX_PREPARED || self.bytes + statement.text.len() > MAX_BYTES
        {
            let oldest = self.statements.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                break;
            };
            self.remove(oldest);
        }
        self.bytes += statement.text.len();
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

    #[cfg(test)]
    pub(super) fn contains(&self, key: u64) -> bool {
        self.statements.contains_key(&key)
    }

    /// It was closed.
    pub fn remove(&mut self, key: u64) {
        if let Some((statement, _)) = self.statements.remove(&key) {
            self.bytes -= statement.text.len();
        }
    }

    /// All were closed.
    pub fn clear(&mut self) {
        self.statements.clear();
        self.bytes = 0;
    }
}
