//! The unwinding tables of files: built on a thread of its own, because a large
//! program takes seconds; kept in the kernel while they are used and fit.

mod build;
mod keeper;
mod message;
mod room;
mod shared;
mod stats;
mod waiting;

use std::fs::File;
use std::io::PipeWriter;
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::Context as _;

use crate::foreign::{FileId, Tenant};
use crate::kernel::unwind::TableMaps;
use keeper::Keeper;
use message::{Answers, Message, Order};

pub(super) use message::{Answer, Likeness, News};
pub use stats::UnwindStats;

/// The thread's address. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Tables {
    orders: mpsc::Sender<Message>,
    news: mpsc::Receiver<Answer>,
}

impl Tables {
    /// Starts the thread. Tables may take `limit` bytes altogether; `wake` is
    /// written a byte when there is news.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub(super) fn start(
        maps: TableMaps,
        limit: u64,
        wake: PipeWriter,
        stats: Arc<UnwindStats>,
    ) -> anyhow::Result<Self> {
        let (orders, receiver) = mpsc::channel();
        let (sender, news) = mpsc::channel();
        let answers = Answers { news: sender, wake };
        let keeper = Keeper::new(maps, limit, orders.clone(), answers, stats);
        std::thread::Builder::new()
            .name("observer-tables".into())
            .spawn(move || keeper.run(&receiver))
            .context("can't start the thread that builds unwinding tables")?;
        Ok(Self { orders, news })
    }

    /// Orders the table of a file for who has it mapped; the answer comes as news.
    pub(super) fn order(&self, id: FileId, likeness: Option<Likeness>, file: File, tenant: Tenant) {
        let order = Order {
            id,
            likeness,
            file,
            tenant,
        };
        // It only fails when the thread is gone, and then there is no news.
        let _ = self.orders.send(Message::Order(order));
    }

    /// The next news.
    pub(super) fn news(&self) -> Option<Answer> {
        self.news.try_recv().ok()
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        // It only fails when the thread is gone already.
        let _ = self.orders.send(Message::End);
    }
}
