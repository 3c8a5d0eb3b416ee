//! What is known of each file's unwinding table.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::stacks::module::Module;
use crate::stacks::tables::{FileKey, News, Tables};

/// Files whose table's state is remembered, beyond those in use.
const MAX_STATES: usize = 16 * 1024;

/// How often the table of one file is built at most.
const ORDER_AGAIN: Duration = Duration::from_secs(10);

/// What is known of a file's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ordered,
    Ready { id: u32, base: u64 },
    Empty,
    Failed,
    Evicted,
}

/// All files' tables, and the thread that builds them.
pub(super) struct States {
    tables: Tables,
    states: HashMap<Rc<FileKey>, State>,
    /// When tables were ordered lately.
    ordered: HashMap<Rc<FileKey>, Instant>,
}

impl States {
    /// Nothing is known; `tables` builds.
    pub(super) fn new(tables: Tables) -> Self {
        Self {
            tables,
            states: HashMap::new(),
            ordered: HashMap::new(),
        }
    }

    /// Whether tables are still being built.
    pub(super) fn is_building(&self) -> bool {
        self.states.values().any(|state| *state == State::Ordered)
    }

    /// The next table of which there is news.
    pub(super) fn hear(&mut self) -> Option<(FileKey, State)> {
        let (key, news) = self.tables.news()?;
        let state = match news {
            News::Ready(id, base) => State::Ready { id, base },
            News::Empty => State::Empty,
            News::Failed => State::Failed,
            News::Evicted => State::Evicted,
        };
        self.states.insert(Rc::new(key.clone()), state);
        Some((key, state))
    }

    /// Has a table that was evicted built again, unless that was done just now.
    pub(super) fn renew(&mut self, module: &Module) {
        if let Some(key) = file_key(module)
            && self.states.get(&key) == Some(&State::Evicted)
            && self.may_order_again(&key)
        {
            self.order(Rc::new(key), module);
        }
    }

    /// What is known of a file's table, which is ordered if nothing is.
    pub(super) fn of(&mut self, module: &Module) -> Option<(Rc<FileKey>, State)> {
        let key = file_key(module)?;
        if let Some((key, state)) = self.states.get_key_value(&key) {
            let (key, state) = (key.clone(), *state);
            if state != State::Evicted || !self.may_order_again(&key) {
                return Some((key, state));
            }
        } else if self.states.len() >= MAX_STATES {
            let used = |state: &State| matches!(state, State::Ready { .. } | State::Ordered);
            self.states.retain(|_, state| used(state));
        }
        let key = Rc::new(key);
        self.order(key.clone(), module);
        Some((key, State::Ordered))
    }

    fn order(&mut self, key: Rc<FileKey>, module: &Module) {
        let state = match module.file() {
            Some(file) => {
                self.tables.order((*key).clone(), file, module.id);
                State::Ordered
            }
            None => State::Failed,
        };
        if self.ordered.len() > MAX_STATES {
            self.ordered.clear();
        }
        self.ordered.insert(key.clone(), Instant::now());
        self.states.insert(key, state);
    }

    /// Whether a table that was evicted may be built once more: not all the
    /// time, where more are needed than there is room for.
    fn may_order_again(&mut self, key: &FileKey) -> bool {
        self.ordered.retain(|_, at| at.elapsed() < ORDER_AGAIN);
        !self.ordered.contains_key(key)
    }
}

fn file_key(module: &Module) -> Option<FileKey> {
    if !module.is_open() {
        return None;
    }
    let id = &module.id;
    Some(match module.build_id() {
        Some(build_id) => FileKey::BuildId(build_id.to_owned(), id.length),
        None => FileKey::Inode(id.device, id.inode, id.length, id.modified.0),
    })
}
