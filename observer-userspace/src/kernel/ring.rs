//! Ring buffers, polled by the daemon's runtime.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Kernel;

/// A ring buffer of records.
pub struct Ring {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Ring {
    /// Takes the ring buffer called `name` out of the kernel object. Must be
    /// called inside a tokio runtime.
    pub fn take(kernel: &mut Kernel, name: &'static str) -> Result<Self> {
        let ring = RingBuf::try_from(kernel.take_map(name)?)?;
        // SAFETY: a RingBuf's descriptor is its map's and stays the same until it
        // is dropped, which the AsyncFd that owns it does after deregistering.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .with_context(|| format!("cannot poll the ring buffer {name}"))?;
        Ok(Self { ring })
    }

    /// Waits until there may be records.
    pub async fn ready(&self) -> Result<()> {
        let mut guard = self
            .ring
            .readable()
            .await
            .context("cannot poll a ring buffer")?;
        guard.clear_ready();
        Ok(())
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
        count
    }

    /// The ring's descriptor, for those who poll by themselves.
    pub fn raw_fd(&self) -> i32 {
        self.ring.get_ref().as_raw_fd()
    }
}

/// Reads a record of a type both halves agree on; `None` when it is too short.
pub fn record<T: Copy>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: long enough, read unaligned; the common crate's records are plain
    // data for which every bit pattern is valid.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}
