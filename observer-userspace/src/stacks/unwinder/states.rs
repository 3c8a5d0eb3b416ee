//! What is known of each file's unwinding table.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::foreign::{FileId, Tenant};
use crate::stacks::module::Module;
use crate::stacks::tables::{Answer, Likeness, News, Tables};

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
    states: HashMap<Rc<FileId>, State>,
    /// When tables were ordered lately.
    ordered: HashMap<FileId, Instant>,
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

    /// The next news, and the files that they are about.
    pub(super) fn hear(&mut self) -> Option<(HashSet<FileId>, State)> {
        let (file, news) = match self.tables.news()? {
            Answer::Of(file, news) => (file, news),
            Answer::Gone(table) => return Some((self.gone(table), State::Evicted)),
        };
        let state = match news {
            News::Ready(id, base) => State::Ready { id, base },
            News::Empty => State::Empty,
            News::Failed => State::Failed,
            News::Evicted => State::Evicted,
        };
        self.states.insert(Rc::new(file), state);
        Some((HashSet::from([file]), state))
    }

    /// Takes in that a table is no more; says which files had it.
    fn gone(&mut self, table: u32) -> HashSet<FileId> {
        let mut files = HashSet::new();
        for (file, state) in &mut self.states {
            if matches!(state, State::Ready { id, .. } if *id == table) {
                *state = State::Evicted;
                files.insert(**file);
            }
        }
        files
    }

    /// Has a table that was evicted built again, unless that was done just now.
    pub(super) fn renew(&mut self, module: &Module, tenant: Tenant) {
        if module.is_open()
            && self.states.get(&module.id) == Some(&State::Evicted)
            && self.may_order_again(&module.id)
        {
            self.order(Rc::new(module.id), module, tenant);
        }
    }

    /// What is known of a file's table, which is ordered for who has it mapped if nothing
    /// is.
    pub(super) fn of(&mut self, module: &Module, tenant: Tenant) -> Option<(Rc<FileId>, State)> {
        if !module.is_open() {
            return None;
        }
        let key = module.id;
        if let Some((key, state)) = self.states.get_key_value(&key) {
            let (key, state) = (key.clone(), *state);
            if state != State::Evicted || !self.may_order_again(&key) {
                return Some((key, state));
            }
        } else if self.states.len() >= MAX_STATES {
            // Those that some list has; news of the others would come too late.
            let used = |key: &Rc<FileId>| Rc::strong_count(key) > 1;
            self.states
                .retain(|key, state| used(key) || *state == State::Ordered);
        }
        let key = Rc::new(key);
        self.order(key.clone(), module, tenant);
        Some((key, State::Ordered))
    }

    fn order(&mut self, key: Rc<FileId>, module: &Module, tenant: Tenant) {
        let state = match module.file() {
            Some(file) => {
                self.tables.order(*key, likeness(module), file, tenant);
                State::Ordered
            }
            None => State::Failed,
        };
        if self.ordered.len() > MAX_STATES {
            self.ordered.clear();
        }
        self.ordered.insert(*key, Instant::now());
        self.states.insert(key, state);
    }

    /// Whether a table that was evicted may be built once more: not all the
    /// time, where more are needed than there is room for.
    fn may_order_again(&mut self, key: &FileId) -> bool {
        self.ordered.retain(|_, at| at.elapsed() < ORDER_AGAIN);
        !self.ordered.contains_key(key)
    }
}

/// What copies of a module's file have in common; nothing if they can't be told.
fn likeness(module: &Module) -> Option<Likeness> {
    Some((module.build_id()?.to_owned(), module.id.length))
}
