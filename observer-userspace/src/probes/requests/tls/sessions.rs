//! TLS sessions that the kernel half remembers: those of processes that have ended are
//! forgotten, and the rest is counted anew. Programs end without freeing their sessions.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aya::maps::{Map, MapData};
use observer_common::names::maps;
use observer_common::plain::Plain;
use observer_common::requests::{SESSIONS, Session, SessionKey, TlsSocket};

use crate::foreign;
use crate::kernel::workload_ids::WorkloadIds;
use crate::kernel::{Kernel, batch};

/// The time between two looks, and the same where the tables are half full.
const PERIOD: Duration = Duration::from_secs(30);
const PRESSED: Duration = Duration::from_secs(2);

/// The tables.
pub struct Sessions {
    ids: WorkloadIds,
    sessions: MapData,
    sockets: MapData,
    swept: Instant,
}

impl Sessions {
    /// Takes them out of the kernel object.
    ///
    /// # Errors
    /// The kernel half lacks one.
    pub fn take(kernel: &mut Kernel) -> Result<Self> {
        Ok(Self {
            ids: WorkloadIds::map(kernel)?,
            sessions: hash_map(kernel.take_map(maps::TLS_SESSIONS)?)?,
            sockets: hash_map(kernel.take_map(maps::TLS_SOCKETS)?)?,
            swept: Instant::now(),
        })
    }

    /// Looks who has ended, if it is time for that.
    ///
    /// # Errors
    /// The kernel refuses to read the tables, or to take something out.
    pub fn sweep_if_due(&mut self) -> Result<()> {
        let most = self.ids.tls_held().into_iter().max().unwrap_or(0);
        let pause = match most > u64::from(SESSIONS) / 2 {
            true => PRESSED,
            false => PERIOD,
        };
        if most == 0 || self.swept.elapsed() < pause {
            return Ok(());
        }
        self.swept = Instant::now();
        let sessions = entries(&self.sessions, |key: SessionKey, session| (key, session))?;
        let sockets = entries(&self.sockets, |key: u64, socket: TlsSocket| {
            (key, socket.session)
        })?;
        // Whoever is missing now was there when the tables were read.
        let alive: HashSet<u32> = foreign::process::all().collect();
        let held = [
            forget(&self.sessions, sessions, &alive)?,
            forget(&self.sockets, sockets, &alive)?,
        ];
        self.ids.tls_hold(&held);
        Ok(())
    }
}

fn hash_map(map: Map) -> Result<MapData> {
    match map {
        Map::LruHashMap(data) => Ok(data),
        _ => bail!("not a hash map"),
    }
}

/// All of a table, with what is to be known of each.
fn entries<K: Plain, V: Plain>(
    table: &MapData,
    known: impl Fn(K, V) -> (K, Session),
) -> Result<Vec<(K, Session)>> {
    let mut all = Vec::new();
    let each = |key, value| all.push(known(key, value));
    batch::read_all(table.fd().as_fd(), each).context("cannot read the TLS sessions")?;
    Ok(all)
}

/// Takes those of processes that have ended out of a table; returns how many each tenant
/// has of the others.
fn forget<K: Plain>(
    table: &MapData,
    entries: Vec<(K, Session)>,
    alive: &HashSet<u32>,
) -> Result<HashMap<u32, u64>> {
    let mut held = HashMap::new();
    let mut over = Vec::new();
    for (key, session) in entries {
        match alive.contains(&session.tgid) {
            true => *held.entry(session.tenant.into()).or_default() += 1,
            false => over.push(key),
        }
    }
    batch::delete(table.fd().as_fd(), &over).context("cannot forget TLS sessions")?;
    Ok(held)
}
