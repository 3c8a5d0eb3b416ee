//! The thread that builds tables, smallest file first, and keeps them.

use std::collections::{BinaryHeap, VecDeque};
use std::io::{PipeWriter, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use observer_common::unwind::{CHUNK_WORDS, Chunk, TABLES, table};

use super::message::{Answer, Built, Message, News, NotBuilt, Order, Wanted};
use super::shared::{self, Made};
use super::stats::UnwindStats;
use crate::foreign::{self, FileId};
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
    /// Its name there.
    name: u32,
    base: u64,
    bytes: u64,
    since: Instant,
    made_of: Made,
}

/// Where news goes.
pub(super) struct Answers {
    pub(super) news: mpsc::Sender<Answer>,
    /// Written a byte when there is some.
    pub(super) wake: PipeWriter,
}

impl Answers {
    fn tell(&mut self, answer: Answer) {
        // Nobody listens any more when the daemon ends.
        let _ = self.news.send(answer);
        let _ = self.wake.write(&[0]);
    }
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
    /// The files whose table it is.
    files: Vec<FileId>,
    id: u32,
    base: u64,
    bytes: u64,
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
        let (id, likeness) = wanted;
        let news = match built {
            Ok((Some(table), inputs)) => {
                let made_of = Made::new(likeness, inputs);
                match self.hand_over(id, made_of, &table) {
                    Ok(Some(finished)) => return Some(finished),
                    Ok(None) => News::Evicted,
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
        table: &Table,
    ) -> anyhow::Result<Option<Finished>> {
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
            files: vec![file],
            id,
            base: table.base,
            bytes,
            made_of,
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
        let kept = self.kept.iter().enumerate();
        let oldest = kept.map(|(place, kept)| (idle(kept), kept.bytes, place));
        let Some((_, _, place)) = oldest.max().filter(|(idle, _, _)| *idle >= IN_USE) else {
            return false;
        };
        let kept = self.kept.swap_remove(place);
        if let Err(error) = self.maps.remove(kept.id) {
            tracing::debug!("cannot remove unwinding table {}: {error}", kept.id);
        }
        self.resting.push_back((Instant::now(), kept.id));
        self.used -= kept.bytes;
        self.stats.evicted.fetch_add(1, Ordering::Relaxed);
        self.show();
        self.answers.tell(Answer::Gone(kept.name));
        true
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

fn build(order: Order) -> (Wanted, Built) {
    let Order { id, likeness, file } = order;
    let began = Instant::now();
    let built = foreign::ask(id.subject(), foreign::A_WHILE, move |_| {
        observer_unwind::build_recorded(&file)
    });
    tracing::debug!(took = ?began.elapsed(), "unwinding table of {id:?}");
    let built = match built {
        Ok(built) => built.map_err(NotBuilt::from),
        Err(error) => Err(error.into()),
    };
    ((id, likeness), built)
}
