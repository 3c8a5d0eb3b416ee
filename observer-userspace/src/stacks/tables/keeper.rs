//! The thread that builds tables, smallest file first, and keeps them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use observer_common::unwind::{CHUNK_WORDS, Chunk, TABLES, table};

use super::build::build;
use super::message::{Answer, Answers, Built, Message, News, Order, Wanted};
use super::room::{self, Held};
use super::shared::{self, Made};
use super::stats::UnwindStats;
use super::waiting::Waiting;
use crate::foreign::{self, FileId, Tenant};
use crate::kernel::clock;
use crate::kernel::unwind::{KernelTable, TableMaps};
use crate::memory;
use observer_unwind::Table;

/// Files longer than this are built apart, so that small ones needn't wait.
const LARGE: u64 = 16 << 20;
/// How long a finished table may wait for others to be published with it.
const PUBLISH_AFTER: Duration = Duration::from_millis(50);
/// How long a number rests before another table may have it.
const REST: Duration = Duration::from_secs(2);

/// A table in the kernel.
struct Kept {
    id: u32,
    /// Its name there.
    name: u32,
    base: u64,
    bytes: u64,
    since: Instant,
    /// For whom it was built first.
    tenant: Tenant,
    made_of: Made,
}

/// What the thread has.
pub(super) struct Keeper {
    maps: TableMaps,
    limit: u64,
    used: u64,
    kept: Vec<Kept>,
    free: VecDeque<u32>,
    /// Tables so far, to tell those at one place apart.
    generation: u32,
    resting: VecDeque<(Instant, u32)>,
    waiting: Waiting,
    large: Waiting,
    /// A large file's table is being built.
    is_building: bool,
    /// Where such a table arrives.
    orders: mpsc::Sender<Message>,
    answers: Answers,
    stats: Arc<UnwindStats>,
}

/// A table that is built, but not published.
struct Finished {
    /// The files whose table it is.
    files: Vec<FileId>,
    id: u32,
    base: u64,
    bytes: u64,
    tenant: Tenant,
    made_of: Made,
    table: KernelTable,
}

impl Keeper {
    /// One that has no table yet. Tables may take `limit` bytes altogether;
    /// large ones arrive through `orders`.
    pub(super) fn new(
        maps: TableMaps,
        limit: u64,
        orders: mpsc::Sender<Message>,
        answers: Answers,
        stats: Arc<UnwindStats>,
    ) -> Self {
        Self {
            maps,
            limit,
            used: 0,
            kept: Vec::new(),
            free: (0..TABLES).collect(),
            generation: 0,
            resting: VecDeque::new(),
            waiting: Waiting::default(),
            large: Waiting::default(),
            is_building: false,
            orders,
            answers,
            stats,
        }
    }

    /// Builds and keeps tables until it is told that nobody needs them.
    pub(super) fn run(mut self, orders: &mpsc::Receiver<Message>) {
        let mut finished: Vec<Finished> = Vec::new();
        let mut since = Instant::now();
        loop {
            let message = if self.waiting.is_empty() {
                self.publish(&mut finished);
                memory::give_back();
                // The sender that is ours never goes.
                let Ok(message) = orders.recv() else { return };
                Some(message)
            } else {
                orders.try_recv().ok()
            };
            let begins = finished.is_empty();
            match message {
                Some(Message::Order(order)) => {
                    self.queue(order, &mut finished);
                    continue;
                }
                Some(Message::Built(wanted, built)) => {
                    self.is_building = false;
                    finished.extend(self.take(wanted, *built));
                    self.build_large(&mut finished);
                }
                Some(Message::End) => return,
                None => {
                    let Some(order) = self.waiting.pop() else {
                        continue;
                    };
                    if self.share(&order, &mut finished) {
                        continue;
                    }
                    let (wanted, built) = build(order);
                    finished.extend(self.take(wanted, built));
                }
            }
            if begins {
                since = Instant::now();
            }
            if since.elapsed() >= PUBLISH_AFTER {
                self.publish(&mut finished);
            }
        }
    }

    fn queue(&mut self, order: Order, finished: &mut [Finished]) {
        if order.id.length > LARGE {
            self.large.push(order);
            self.build_large(finished);
        } else {
            self.waiting.push(order);
        }
    }

    /// Builds the next large table on a thread that ends with it.
    fn build_large(&mut self, finished: &mut [Finished]) {
        while !self.is_building {
            let Some(order) = self.large.pop() else {
                return;
            };
            if self.share(&order, finished) {
                continue;
            }
            let id = order.id;
            let result = self.orders.clone();
            let thread = std::thread::Builder::new().name("observer-tables".into());
            let spawned = thread.spawn(move || {
                let (wanted, built) = build(order);
                // The keeper may be gone.
                let _ = result.send(Message::Built(wanted, Box::new(built)));
            });
            match spawned {
                Ok(_) => self.is_building = true,
                Err(error) => {
                    tracing::warn!("no thread to build an unwinding table: {error}");
                    self.answers.tell(Answer::Of(id, News::Failed));
                }
            }
        }
    }

    /// Gives a file the table of another that was made of the same; false if there is
    /// none.
    fn share(&mut self, order: &Order, finished: &mut [Finished]) -> bool {
        let kept = self.kept.iter().map(|kept| &kept.made_of);
        let candidates = kept.chain(finished.iter().map(|done| &done.made_of));
        let Some(place) = shared::find(order, candidates) else {
            return false;
        };
        self.stats.shared.fetch_add(1, Ordering::Relaxed);
        if let Some(kept) = self.kept.get(place) {
            let news = News::Ready(kept.name, kept.base);
            self.answers.tell(Answer::Of(order.id, news));
        } else if let Some(done) = finished.get_mut(place - self.kept.len()) {
            done.files.push(order.id);
        }
        true
    }

    /// Takes over what came of building.
    fn take(&mut self, wanted: Wanted, built: Built) -> Option<Finished> {
        let (id, likeness, tenant) = wanted;
        let news = match built {
            Ok((Some(table), inputs)) => {
                let made_of = Made::new(likeness, inputs);
                match self.hand_over(id, made_of, tenant, &table) {
                    Ok(Some(finished)) => return Some(finished),
                    Ok(None) => {
                        self.no_room(tenant);
                        News::Evicted
                    }
                    Err(error) => self.failed(&id, &error),
                }
            }
            Ok((None, _)) => News::Empty,
            Err(error) => self.failed(&id, &error.into()),
        };
        self.answers.tell(Answer::Of(id, news));
        None
    }

    fn failed(&self, id: &FileId, error: &anyhow::Error) -> News {
        tracing::debug!("no unwinding table of {id:?}: {error:#}");
        self.stats.failed.fetch_add(1, Ordering::Relaxed);
        News::Failed
    }

    /// Copies a table to the kernel; `None` if there is no room now.
    fn hand_over(
        &mut self,
        file: FileId,
        made_of: Made,
        tenant: Tenant,
        table: &Table,
    ) -> anyhow::Result<Option<Finished>> {
        let chunks = table.words.len().div_ceil(CHUNK_WORDS);
        let bytes = (chunks * size_of::<Chunk>()) as u64;
        anyhow::ensure!(
            bytes <= self.limit,
            "its table has {bytes} bytes, all together may have {}",
            self.limit
        );
        let free = self.limit.saturating_sub(self.used);
        if !self.make_room(free, tenant, bytes, |kept| kept.bytes) {
            return Ok(None);
        }
        let Some(id) = self.number(tenant) else {
            return Ok(None);
        };
        let kernel = match KernelTable::create(&table.words) {
            Ok(kernel) => kernel,
            Err(error) => {
                self.free.push_back(id);
                return Err(error).context("the kernel has no room for it");
            }
        };
        self.used += bytes;
        self.stats.built.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Finished {
            files: vec![file],
            id,
            base: table.base,
            bytes,
            tenant,
            made_of,
            table: kernel,
        }))
    }

    /// A number that no table has, nor had a moment ago. Where there is none, one is
    /// free before this table is ordered again.
    fn number(&mut self, tenant: Tenant) -> Option<u32> {
        while let Some((since, id)) = self.resting.front().copied() {
            if since.elapsed() < REST {
                break;
            }
            self.resting.pop_front();
            self.free.push_back(id);
        }
        if self.free.is_empty() && self.resting.is_empty() {
            self.make_room(0, tenant, 1, |_| 1);
        }
        self.free.pop_front()
    }

    /// Takes tables away until `wanted` of what they take, as `size` says, is free where
    /// `free` is; false, and none is taken away, if none has to make room for this
    /// tenant's.
    fn make_room(
        &mut self,
        free: u64,
        tenant: Tenant,
        wanted: u64,
        size: impl Fn(&Kept) -> u64,
    ) -> bool {
        if free >= wanted {
            return true;
        }
        let now = clock::monotonic();
        let held = self.kept.iter().map(|kept| {
            let used = u64::from(self.maps.last_used(kept.id)) << 30;
            let unused = Duration::from_nanos(now.saturating_sub(used));
            Held {
                tenant: kept.tenant,
                size: size(kept),
                idle: unused.min(kept.since.elapsed()),
            }
        });
        let held: Vec<Held> = held.collect();
        let Some(mut gone) = room::find(&held, free, tenant, wanted) else {
            return false;
        };
        // From the last place on, so that the others keep theirs.
        gone.sort_unstable();
        for place in gone.into_iter().rev() {
            let kept = self.kept.swap_remove(place);
            self.evict(kept);
        }
        self.show();
        true
    }

    fn evict(&mut self, kept: Kept) {
        if let Err(error) = self.maps.remove(kept.id) {
            tracing::debug!("cannot remove unwinding table {}: {error}", kept.id);
        }
        self.resting.push_back((Instant::now(), kept.id));
        self.used -= kept.bytes;
        self.stats.evicted.fetch_add(1, Ordering::Relaxed);
        self.answers.tell(Answer::Gone(kept.name));
    }

    /// Says who finds no room.
    fn no_room(&self, tenant: Tenant) {
        if foreign::refused("unwind_tables", tenant) {
            let (used, limit) = (self.used >> 20, self.limit >> 20);
            tracing::warn!(
                "no room for more unwinding tables of {tenant}: {} tables take {used} of {limit} MiB and are in use; stacks through its other files are incomplete",
                self.kept.len()
            );
        }
    }

    fn publish(&mut self, finished: &mut Vec<Finished>) {
        if finished.is_empty() {
            return;
        }
        let mut tables = Vec::with_capacity(finished.len());
        let mut kept = Vec::with_capacity(finished.len());
        for done in finished.drain(..) {
            tables.push((done.id, done.table));
            self.generation = self.generation.wrapping_add(1);
            // Before it is there: publishing takes the kernel ten milliseconds
            // and more, but each table can be used from its first moment on.
            let name = table(done.id, self.generation);
            for file in done.files {
                let news = News::Ready(name, done.base);
                self.answers.tell(Answer::Of(file, news));
            }
            kept.push(Kept {
                id: done.id,
                name,
                base: done.base,
                bytes: done.bytes,
                since: Instant::now(),
                tenant: done.tenant,
                made_of: done.made_of,
            });
        }
        let published = self.maps.publish(&tables);
        if let Err(error) = &published {
            tracing::warn!("unwinding tables can't be handed to the kernel: {error}");
        }
        if published.is_ok() {
            self.kept.extend(kept);
        } else {
            for kept in kept {
                self.used -= kept.bytes;
                self.resting.push_back((Instant::now(), kept.id));
                self.answers.tell(Answer::Gone(kept.name));
            }
        }
        self.show();
    }

    fn show(&self) {
        self.stats
            .tables
            .store(self.kept.len() as u64, Ordering::Relaxed);
        self.stats.bytes.store(self.used, Ordering::Relaxed);
    }
}
