//! Memcached's commands: only these words are ever taken for names, so that no
//! key and no secret is.

use std::cell::RefCell;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::call::Asked;

/// Arguments that are told one by one in a text.
const MAX_TOLD: u32 = 9;
/// Shapes of commands that are kept.
const MAX_ASKED: usize = 1024;

/// What is to be known of a command, to follow its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// One line or message answers it, which says nothing of a key.
    #[default]
    Plain,
    /// Brings the values of its keys, which are behind so many other arguments.
    Get(u32),
    /// Stores a value, whose size is the argument with this number.
    Store(usize),
    /// Does something with a key that is there.
    Change,
    /// The answer is the end of the connection.
    Quits,
    /// What comes is no answer to it.
    Streams,
}

/// A known command; the default is none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Command(u8);

/// Text and meta commands, and what binary ones are called that have no other
/// name.
const COMMANDS: &[(&str, Kind)] = &[
    ("get", Kind::Get(0)),
    ("gets", Kind::Get(0)),
    ("gat", Kind::Get(1)),
    ("gats", Kind::Get(1)),
    ("set", Kind::Store(4)),
    ("add", Kind::Store(4)),
    ("replace", Kind::Store(4)),
    ("append", Kind::Store(4)),
    ("prepend", Kind::Store(4)),
    ("cas", Kind::Store(4)),
    ("incr", Kind::Change),
    ("decr", Kind::Change),
    ("delete", Kind::Change),
    ("touch", Kind::Change),
    ("mg", Kind::Change),
    ("ms", Kind::Store(2)),
    ("md", Kind::Change),
    ("ma", Kind::Change),
    ("me", Kind::Change),
    ("mn", Kind::Plain),
    ("stats", Kind::Plain),
    ("version", Kind::Plain),
    ("verbosity", Kind::Plain),
    ("flush_all", Kind::Plain),
    ("cache_memlimit", Kind::Plain),
    ("slabs", Kind::Plain),
    ("lru", Kind::Plain),
    ("lru_crawler", Kind::Plain),
    ("extstore", Kind::Plain),
    ("misbehave", Kind::Plain),
    ("noop", Kind::Plain),
    ("sasl_list_mechs", Kind::Plain),
    ("sasl_auth", Kind::Plain),
    ("sasl_step", Kind::Plain),
    ("quit", Kind::Quits),
    ("shutdown", Kind::Quits),
    ("watch", Kind::Streams),
];

impl Command {
    /// By its name, as it is written.
    pub fn find(name: &[u8]) -> Self {
        let found = COMMANDS
            .iter()
            .position(|(word, _)| word.as_bytes() == name);
        Self(found.map_or(0, |index| index as u8 + 1))
    }

    fn row(self) -> Option<&'static (&'static str, Kind)> {
        COMMANDS.get(usize::from(self.0).checked_sub(1)?)
    }

    /// What it is called; empty if it isn't known.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |(name, _)| name)
    }

    /// What is to be known of it.
    pub fn kind(self) -> Kind {
        self.row().map(|(_, kind)| *kind).unwrap_or_default()
    }

    /// What it asks for with so many arguments, `keys` of them keys; mostly made
    /// once.
    pub fn asked(self, arguments: u32, keys: u32) -> Arc<Asked> {
        ASKED.with_borrow_mut(|known| {
            let shape = (self, arguments.min(MAX_TOLD + 1), keys);
            if let Some(asked) = known.get(&shape) {
                return asked.clone();
            }
            let asked = Arc::new(self.make(arguments, keys));
            if known.len() < MAX_ASKED {
                known.insert(shape, asked.clone());
            }
            asked
        })
    }

    fn make(self, arguments: u32, keys: u32) -> Asked {
        let name = self.name();
        let mut text = String::from(name);
        for _ in 0..arguments.min(MAX_TOLD) {
            text.push_str(" ?");
        }
        if arguments > MAX_TOLD {
            text.push_str(" ...");
        }
        Asked {
            operation: name.into(),
            summary: name.into(),
            text: (!name.is_empty()).then(|| text.into()),
            batch: (keys > 1).then_some(keys),
            ..Asked::default()
        }
    }
}

thread_local! {
    static ASKED: RefCell<FxHashMap<(Command, u32, u32), Arc<Asked>>> = RefCell::default();
}
