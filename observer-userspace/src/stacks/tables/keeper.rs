//! The thread that builds tables, smallest file first, and keeps them.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::{PipeWriter, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use observer_common::unwind::{CHUNK_WORDS, Chunk, TABLES, table};

use super::message::{Built, FileKey, Message, News, Order};
use super::stats::UnwindStats;
use crate::foreign;
use crate::kernel::clock;
use crate::kernel::unwind::{KernelTable, TableMaps};
use crate::memory;
use observer_unwind::Table;

/// Files longer than this are built apart, so that small ones needn't wait.
const LARGE: u64 = 16 << 20;
/// How long a finished table may wait for others to be published with it.
const PUBLISH_AFTER: Duration = Duration::from_millis(50);
/// A table that was used in this time isn't evicted.
const IN_USE: Duration = Duration::from_secs(10);
/// How long a number rests before another table may have it.
const REST: Duration = Duration::from_secs(2);

/// A table in the kernel.
struct Kept {
    id: u32,
    bytes: u64,
    since: Instant,
}

/// Where news goes.
pub(super) struct Answers {
    pub(super) news: mpsc::Sender<(FileKey, News)>,
    /// Written a byte when there is some.
    pub(super) wake: PipeWriter,
}

impl Answers {
    fn tell(&mut self, key: FileKey, news: News) {
        // Nobody listens any more when the daemon ends.
        let _ = self.news.send((key, news));
        let _ = self.wake.write(&[0]);
    }
}

/// What the thread has.
pub(super) struct Keeper {
    maps: TableMaps,
    limit: u64,
    used: u64,
    kept: HashMap<FileKey, Kept>,
    free: VecDeque<u32>,
    /// Tables so far, to tell those at one place apart.
    generation: u32,
    resting: VecDeque<(Instant, u32)>,
    waiting: BinaryHeap<Order>,
    large: BinaryHeap<Order>,
    /// A large file's table is being built.
    is_building: bool,
    /// Where such a table arrives.
    orders: mpsc::Sender<Message>,
    answers: Answers,
    stats: Arc<UnwindStats>,
}

/// A table that is built, but not published.
struct Finished {
    key: FileKey,
    id: u32,
    base: u64,
    bytes: u64,
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
            kept: HashMap::new(),
            free: (0..TABLES).collect(),
            generation: 0,
            resting: VecDeque::new(),
            waiting: BinaryHeap::new(),
            large: BinaryHeap::new(),
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
                    self.queue(order);
                    continue;
                }
                Some(Message::Built(key, built)) => {
                    self.is_building = false;
                    self.build_large();
                    finished.extend(self.take(&key, *built));
                }
                Some(Message::End) => return,
                None => {
                    let Some(order) = self.waiting.pop() else {
                        continue;
                    };
                    let key = order.key.clone();
                    let built = build(order);
                    finished.extend(self.take(&key, built));
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

    fn queue(&mut self, order: Order) {
        if order.id.length > LARGE {
            self.large.push(order);
            self.build_large();
        } else {
            self.waiting.push(order);
        }
    }

    /// Builds the next large table on a thread that ends with it.
    fn build_large(&mut self) {
        if self.is_building {
            return;
        }
        let Some(order) = self.large.pop() else {
            return;
        };
        let key = order.key.clone();
        let result = self.orders.clone();
        let thread = std::thread::Builder::new().name("observer-tables".into());
        let spawned = thread.spawn(move || {
            let key = order.key.clone();
            let built = build(order);
            // The keeper may be gone.
            let _ = result.send(Message::Built(key, Box::new(built)));
        });
        match spawned {
            Ok(_) => self.is_building = true,
            Err(error) => {
                tracing::warn!("no thread to build an unwinding table: {error}");
                self.answers.tell(key, News::Failed);
            }
        }
    }

    /// Takes over what came of building.
    fn take(&mut self, key: &FileKey, built: Built) -> Option<Finished> {
        let news = match built {
            Ok(Some(table)) => match self.hand_over(key, &table) {
                Ok(Some(finished)) => return Some(finished),
                Ok(None) => News::Evicted,
                Err(error) => self.failed(key, &error),
            },
            Ok(None) => News::Empty,
            Err(error) => self.failed(key, &error.into()),
        };
        self.answers.tell(key.clone(), news);
        None
    }

    fn failed(&self, key: &FileKey, error: &anyhow::Error) -> News {
        tracing::debug!("no unwinding table of {key:?}: {error:#}");
        self.stats.failed.fetch_add(1, Ordering::Relaxed);
        News::Failed
    }

    /// Copies a table to the kernel; `None` if there is no room now.
    fn hand_over(&mut self, key: &FileKey, table: &Table) -> anyhow::Result<Option<Finished>> {
        let chunks = table.words.len().div_ceil(CHUNK_WORDS);
        let bytes = (chunks * size_of::<Chunk>()) as u64;
        anyhow::ensure!(
            bytes <= self.limit,
            "its table has {bytes} bytes, all together may have {}",
            self.limit
        );
        while self.used + bytes > self.limit {
            if !self.evict() {
                return Ok(None);
            }
        }
        let id = self.number().context("there are too many tables")?;
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
            key: key.clone(),
            id,
            base: table.base,
            bytes,
            table: kernel,
        }))
    }

    /// A number that no table has, nor had a moment ago.
    fn number(&mut self) -> Option<u32> {
        while let Some((since, id)) = self.resting.front().copied() {
            if since.elapsed() < REST {
                break;
            }
            self.resting.pop_front();
            self.free.push_back(id);
        }
        if self.free.is_empty() {
            self.evict();
        }
        self.free.pop_front()
    }

    /// Takes away the table that was used least recently; false if there is
    /// none that wasn't used lately: whoever needs more tables at once than
    /// there is room for is better off with some than with a change of all.
    fn evict(&mut self) -> bool {
        let now = clock::monotonic();
        let idle = |kept: &Kept| {
            let used = u64::from(self.maps.last_used(kept.id)) << 30;
            let unused = Duration::from_nanos(now.saturating_sub(used));
            unused.min(kept.since.elapsed())
        };
        let oldest = self
            .kept
            .iter()
            .map(|(key, kept)| (idle(kept), kept.bytes, key))
            .max();
        let Some(key) = oldest
            .filter(|(idle, _, _)| *idle >= IN_USE)
            .map(|(_, _, key)| key.clone())
        else {
            return false;
        };
        let Some(kept) = self.kept.remove(&key) else {
            return false;
        };
        if let Err(error) = self.maps.remove(kept.id) {
            tracing::debug!("cannot remove unwinding table {}: {error}", kept.id);
        }
        self.resting.push_back((Instant::now(), kept.id));
        self.used -= kept.bytes;
        self.stats.evicted.fetch_add(1, Ordering::Relaxed);
        self.show();
        self.answers.tell(key, News::Evicted);
        true
    }

    fn publish(&mut self, finished: &mut Vec<Finished>) {
        if finished.is_empty() {
            return;
        }
        let mut tables = Vec::with_capacity(finished.len());
        let mut keys = Vec::with_capacity(finished.len());
        for done in finished.drain(..) {
            tables.push((done.id, done.table));
            keys.push((done.key.clone(), done.id, done.bytes));
            self.generation = self.generation.wrapping_add(1);
            // Before it is there: publishing takes the kernel ten milliseconds
            // and more, but each table can be used from its first moment on.
            let name = table(done.id, self.generation);
            self.answers.tell(done.key, News::Ready(name, done.base));
        }
        let published = self.maps.publish(&tables);
        if let Err(error) = &published {
            tracing::warn!("unwinding tables can't be handed to the kernel: {error}");
        }
        for (key, id, bytes) in keys {
            if published.is_ok() {
                let since = Instant::now();
                self.kept.insert(key, Kept { id, bytes, since });
            } else {
                self.used -= bytes;
                self.resting.push_back((Instant::now(), id));
                self.answers.tell(key, News::Failed);
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

fn build(order: Order) -> Built {
    let Order { key, file, id } = order;
    let began = Instant::now();
    let built = foreign::ask(id.subject(), foreign::A_WHILE, move |_| {
        observer_unwind::build(&file)
    });
    tracing::debug!(took = ?began.elapsed(), "unwinding table of {key:?}");
    Ok(built??)
}
