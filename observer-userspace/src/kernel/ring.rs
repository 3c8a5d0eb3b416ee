//! Ring buffers, polled by the daemon's runtime.

use std::num::NonZero;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, RingBuf};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::{SysconfVar, sysconf};
use observer_common::plain::{Plain, prefix};
use observer_common::ring::SharedRing;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Kernel;
use super::shares::RingShares;

/// A ring buffer of records.
pub struct Ring {
    name: &'static str,
    ring: AsyncFd<RingBuf<MapData>>,
    positions: Option<Positions>,
    /// Whose share of it is how large, if tenants share it.
    shares: Option<RingShares>,
}

/// Where a ring isn't so full any more, everybody has their share of it anew: that the
/// kernel half counts only above it ([`observer_common::ring`]).
const FREE: f64 = 0.5;

impl Ring {
    /// Takes the ring buffer called `name` out of the kernel object. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// There is no ring buffer of that name, or the runtime can't watch it.
    pub fn take(kernel: &mut Kernel, name: &'static str) -> Result<Self> {
        let mut shared = SharedRing::ALL.iter().filter(|ring| ring.map() == name);
        let shares = shared.next().map(|ring| RingShares::map(kernel, *ring));
        let map = kernel.take_map(name)?;
        let size = match &map {
            Map::RingBuf(data) => data.info().map_or(0, |info| info.max_entries()),
            _ => 0,
        };
        let ring = RingBuf::try_from(map)?;
        let positions = Positions::map(&ring, size);
        // SAFETY: a RingBuf's descriptor is its map's and stays the same until it
        // is dropped, which the AsyncFd that owns it does after deregistering.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .with_context(|| format!("cannot poll the ring buffer {name}"))?;
        Ok(Self {
            name,
            ring,
            positions,
            shares: shares.transpose()?,
        })
    }

    /// Ready when the kernel announces records.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.ring.poll_read_ready(context) {
            Poll::Ready(Ok(mut guard)) => {
                guard.clear_ready();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error).context("cannot poll a ring buffer")),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Hands every record that is there to `each`, at most `limit`; returns
    /// how many there were.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let ring = self.ring.get_mut();
        let mut count = 0;
        while count < limit
            && let Some(record) = ring.next()
        {
            each(&record);
            count += 1;
        }
        let is_free = self.fill() < FREE;
        if let Some(shares) = self.shares.as_mut().filter(|_| is_free) {
            shares.are_free();
        }
        count
    }

    /// The ring's name in the kernel object.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How full it is, from 0 to 1.
    pub fn fill(&self) -> f64 {
        self.positions.as_ref().map_or(0.0, Positions::fill)
    }
}

/// The ring's two positions. aya keeps its own mapping of them to itself; this
/// is a second one, read-only. Layout: kernel/bpf/ringbuf.c, `struct
/// bpf_ringbuf`: a page with the consumer's position, a page with the
/// producer's, then the data.
struct Positions {
    start: NonNull<u64>,
    page: usize,
    size: u32,
}

impl Positions {
    fn map(ring: &RingBuf<MapData>, size: u32) -> Option<Self> {
        let page = usize::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
        // SAFETY: the descriptor stays open while it is borrowed here.
        let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap(
                None,
                NonZero::new(2 * page)?,
                ProtFlags::PROT_READ,
                MapFlags::MAP_SHARED,
                fd,
                0,
            )
        }
        .ok()?;
        Some(Self {
            start: start.cast(),
            page,
            size,
        })
    }

    fn fill(&self) -> f64 {
        // SAFETY: both words lie in the mapping, which kernel and aya write.
        let (consumer, producer) = unsafe {
            let consumer = self.start.as_ptr();
            (
                consumer.read_volatile(),
                consumer.byte_add(self.page).read_volatile(),
            )
        };
        producer.saturating_sub(consumer) as f64 / f64::from(self.size.max(1))
    }
}

impl Drop for Positions {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length.
        let _ = unsafe { munmap(self.start.cast(), 2 * self.page) };
    }
}

/// Reads a record of a type both halves agree on; `None` when it is too short.
pub fn record<T: Plain>(bytes: &[u8]) -> Option<T> {
    prefix(bytes).map(|(record, _)| record)
}
