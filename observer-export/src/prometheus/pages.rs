//! A snapshot encoded: each exposition at most once, however many ask for it.

use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::families::{Families, targets};
use super::negotiation::Format;
use super::targets::{Target, Targets};
use super::text::Dialect;
use super::{Snapshot, protobuf, text};

/// A snapshot and what was made of it so far.
#[derive(Debug)]
pub struct Pages {
    snapshot: Snapshot,
    targets: OnceLock<Vec<Target>>,
    plain: [OnceLock<Bytes>; Format::ALL.len()],
    packed: [OnceLock<Bytes>; Format::ALL.len()],
}

impl Pages {
    fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            targets: OnceLock::new(),
            plain: Default::default(),
            packed: Default::default(),
        }
    }

    /// The exposition, compressed or not.
    fn get(&self, format: Format, gzip: bool, known: &Mutex<Targets>) -> Bytes {
        let of = |pages: &[OnceLock<Bytes>; 3], make: &dyn Fn() -> Bytes| {
            let page = pages.iter().zip(Format::ALL).find(|(_, of)| *of == format);
            page.map_or_else(make, |(page, _)| page.get_or_init(make).clone())
        };
        let plain = || of(&self.plain, &|| self.encode(format, known));
        if gzip {
            of(&self.packed, &|| packed(&plain()))
        } else {
            plain()
        }
    }

    fn encode(&self, format: Format, known: &Mutex<Targets>) -> Bytes {
        let all = self.targets.get_or_init(|| {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            targets(&self.snapshot, &mut known)
        });
        let families = Families::of(&self.snapshot, all);
        let mut written = String::new();
        match format {
            Format::Text => text::write(&mut written, &families, Dialect::Classic),
            Format::OpenMetrics => text::write(&mut written, &families, Dialect::Open),
            Format::Protobuf => {
                let mut out = Vec::new();
                protobuf::write(&mut out, &families);
                return out.into();
            }
        }
        written.into()
    }
}

/// Compressed, as fast as can be: it is read once.
fn packed(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // A vector takes all that is written.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}

/// The newest snapshot, between who makes it and who serves it.
#[derive(Debug)]
pub struct Board {
    newest: Mutex<Arc<Pages>>,
    /// What resources are called, from one snapshot to the next.
    targets: Mutex<Targets>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            newest: Mutex::new(Arc::new(Pages::new(Snapshot::default()))),
            targets: Mutex::default(),
        }
    }
}

impl Board {
    /// From now on this is the newest. Encodes nothing and waits for nobody who does: the
    /// lock is held for as long as a pointer takes.
    pub fn publish(&self, snapshot: Snapshot) {
        let pages = Arc::new(Pages::new(snapshot));
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *newest, pages);
        drop(newest);
        drop(before);
    }

    /// The newest, encoded.
    pub fn page(&self, format: Format, gzip: bool) -> Bytes {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = Arc::clone(&newest);
        drop(newest);
        pages.get(format, gzip, &self.targets)
    }
}
