//! Numbers for the texts that tell series apart.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher as _};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};

use crate::call::{Asked, Db};
use crate::finished::{Endpoints, Finished};
use crate::semantics::{self, server};

/// Texts by where they are in memory, of all workloads together.
const PLACES: usize = 1024;

/// Gives each text a number, never 0. Texts that come again and again are found
/// by their addresses, for which they are kept: so no other text can have them.
pub struct Names {
    numbers: FxHashMap<Box<str>, u32>,
    texts: Vec<Option<Texts>>,
    statements: Vec<Option<Statement>>,
    servers: Vec<Option<Server>>,
    scratch: String,
}

/// Two texts that have a number together.
struct Texts {
    texts: [Arc<str>; 2],
    number: u32,
}

/// What a database was asked for, with its name.
struct Statement {
    asked: Arc<Asked>,
    namespace: Option<Arc<str>>,
    number: u32,
}

/// A connection to a server that was asked as `host`.
struct Server {
    endpoints: Arc<Endpoints>,
    host: Option<Arc<str>>,
    number: u32,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            numbers: FxHashMap::default(),
            texts: (0..PLACES).map(|_| None).collect(),
            statements: (0..PLACES).map(|_| None).collect(),
            servers: (0..PLACES).map(|_| None).collect(),
            scratch: String::new(),
        }
    }
}

impl Names {
    /// The number of a text by itself. As with the others, `None` if it is new
    /// and there is no `room` for anything new.
    pub fn text(&mut self, text: &str, room: impl Fn() -> bool) -> Option<u32> {
        self.scratch.clear();
        self.scratch.push_str(text);
        self.scratch(room)
    }

    /// The number of a method of a service.
    pub fn call(
        &mut self,
        service: &Arc<str>,
        method: &Arc<str>,
        room: impl Fn() -> bool,
    ) -> Option<u32> {
        let place = place([address(Some(service)), address(Some(method)), 0]);
        if let Some(Some(known)) = self.texts.get(place)
            && Arc::ptr_eq(&known.texts[0], service)
            && Arc::ptr_eq(&known.texts[1], method)
        {
            return Some(known.number);
        }
        let number = self.joined([Some(&**service), Some(&**method), None, None], room)?;
        if let Some(place) = self.texts.get_mut(place) {
            *place = Some(Texts {
                texts: [service.clone(), method.clone()],
                number,
            });
        }
        Some(number)
    }

    /// The number of what a database was asked for.
    pub fn statement(&mut self, call: &Db, room: impl Fn() -> bool) -> Option<u32> {
        let namespace = call.namespace.as_ref();
        let place = place([Arc::as_ptr(&call.asked) as usize, address(namespace), 0]);
        if let Some(Some(known)) = self.statements.get(place)
            && Arc::ptr_eq(&known.asked, &call.asked)
            && same(known.namespace.as_ref(), namespace)
        {
            return Some(known.number);
        }
        let texts = [
            Some(&*call.operation),
            Some(&*call.summary),
            call.collection.as_deref(),
            call.namespace.as_deref(),
        ];
        let number = self.joined(texts, room)?;
        if let Some(place) = self.statements.get_mut(place) {
            *place = Some(Statement {
                asked: call.asked.clone(),
                namespace: call.namespace.clone(),
                number,
            });
        }
        Some(number)
    }

    /// The number of the server that a client asked.
    pub fn server(
        &mut self,
        host: Option<&Arc<str>>,
        finished: &Finished,
        room: impl Fn() -> bool,
    ) -> Option<u32> {
        let endpoints = &finished.endpoints;
        let place = place([Arc::as_ptr(endpoints) as usize, address(host), 0]);
        if let Some(Some(known)) = self.servers.get(place)
            && Arc::ptr_eq(&known.endpoints, endpoints)
            && same(known.host.as_ref(), host)
        {
            return Some(known.number);
        }
        let host_text = host.map(|host| &**host);
        self.scratch.clear();
        if let Some((name, port)) = server(host_text, endpoints, finished.role) {
            match name {
                semantics::Server::Named(name) => self.scratch.push_str(name),
                // Writing to a String can't fail.
                semantics::Server::Address(address) => {
                    let _ = write!(self.scratch, "{address}");
                }
            }
            self.scratch.push(' ');
            self.scratch.push_str(&port.unwrap_or(0).to_string());
        }
        let number = self.scratch(room)?;
        if let Some(place) = self.servers.get_mut(place) {
            *place = Some(Server {
                endpoints: Arc::clone(endpoints),
                host: host.cloned(),
                number,
            });
        }
        Some(number)
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The number of these texts together.
    fn joined(&mut self, texts: [Option<&str>; 4], room: impl Fn() -> bool) -> Option<u32> {
        self.scratch.clear();
        for text in texts {
            // No text of a protocol has such a character.
            self.scratch.push('\u{1f}');
            self.scratch.push_str(text.unwrap_or("\u{1e}"));
        }
        self.scratch(room)
    }

    /// The number of the text in `scratch`.
    fn scratch(&mut self, room: impl Fn() -> bool) -> Option<u32> {
        if let Some(number) = self.numbers.get(self.scratch.as_str()) {
            return Some(*number);
        }
        if !room() {
            return None;
        }
        // As many as there are series, or a few times that.
        let number = self.numbers.len() as u32 + 1;
        self.numbers.insert(self.scratch.as_str().into(), number);
        Some(number)
    }
}

fn same(a: Option<&Arc<str>>, b: Option<&Arc<str>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

fn address(text: Option<&Arc<str>>) -> usize {
    text.map_or(0, |text| Arc::as_ptr(text).cast::<u8>() as usize)
}

fn place(addresses: [usize; 3]) -> usize {
    let mut hasher = FxHasher::default();
    addresses.hash(&mut hasher);
    // The high bits are the better ones.
    (hasher.finish() >> 40) as usize % PLACES
}
