//! Whose part of the kernel half's rings, and of its tables of samples, is how large.

use anyhow::Result;
use observer_common::cpu::shares as samples;
use observer_common::names::maps;
use observer_common::ring::{RINGS, SharedRing, shares as rings};
use observer_common::workload::ids::MAX_TENANTS;

use super::Kernel;
use super::mapped::Mapped;
use super::object::array_fd;

/// Words by which parts are told, of several rings or tables one after the other.
#[derive(Debug)]
struct Words(Mapped<u64>);

impl Words {
    fn map(kernel: &mut Kernel, name: &'static str, words: u32) -> Result<Self> {
        let map = kernel.map_mut(name)?;
        Ok(Self(Mapped::map(array_fd(map)?, words as usize)?))
    }

    fn get(&self, at: u32) -> u64 {
        self.0.get(at as usize).unwrap_or(0)
    }

    fn set(&mut self, at: u32, value: u64) {
        self.0.set(at as usize, value);
    }

    /// Sets the words of all tenants from `at` on to zero.
    fn clear(&mut self, at: u32) {
        for word in at..at + MAX_TENANTS {
            if self.get(word) != 0 {
                self.set(word, 0);
            }
        }
    }

    /// Tenants with what is in their words from `at` on, but for zeros.
    fn tenants(&self, at: u32) -> impl Iterator<Item = (u32, u64)> {
        let all = 0..MAX_TENANTS;
        let all = all.map(move |tenant| (tenant, self.get(at + tenant)));
        all.filter(|(_, count)| *count != 0)
    }
}

/// Of one ring, see [`observer_common::ring`].
#[derive(Debug)]
pub struct RingShares {
    words: Words,
    /// Where its words begin.
    at: u32,
}

impl RingShares {
    /// Those of a ring.
    ///
    /// # Errors
    /// The kernel half has none, or they can't be mapped.
    pub fn map(kernel: &mut Kernel, ring: SharedRing) -> Result<Self> {
        Ok(Self {
            words: Words::map(kernel, maps::RING_SHARES, RINGS * rings::WORDS)?,
            at: ring as u32 * rings::WORDS,
        })
    }

    /// The ring was read so far that its lower half isn't full: each tenant has its share of
    /// the upper one anew.
    pub fn are_free(&mut self) {
        if self.words.get(self.at + rings::CHARGED) != 0 {
            // First: who is charged from now on says so again.
            self.words.set(self.at + rings::CHARGED, 0);
            self.words.clear(self.at + rings::BYTES);
        }
    }

    /// Tenants of whom records found no room, and how many since the start.
    pub fn refused(&self) -> impl Iterator<Item = (u32, u64)> {
        self.words.tenants(self.at + rings::REFUSED)
    }
}

/// Of both tables of samples.
#[derive(Debug)]
pub struct SampleShares(Words);

impl SampleShares {
    /// Maps them.
    ///
    /// # Errors
    /// See [`RingShares::map`].
    pub fn map(kernel: &mut Kernel) -> Result<Self> {
        let words = Words::map(kernel, maps::SAMPLE_SHARES, 2 * samples::WORDS)?;
        Ok(Self(words))
    }

    /// A table, 0 or 1, was emptied while nobody counts in it.
    pub fn emptied(&mut self, table: u32) {
        let at = (table & 1) * samples::WORDS;
        if self.0.get(at + samples::ALL) != 0 {
            self.0.set(at + samples::ALL, 0);
            self.0.clear(at + samples::HELD);
        }
    }

    /// Tenants of whom stacks found no room in these tables, and how many since the start.
    pub fn refused(&self) -> impl Iterator<Item = (u32, u64)> {
        let refused = |tenant| {
            let tables = [0, samples::WORDS].iter();
            tables
                .map(|at| self.0.get(at + samples::REFUSED + tenant))
                .sum()
        };
        let all = (0..MAX_TENANTS).map(move |tenant| (tenant, refused(tenant)));
        all.filter(|(_, count)| *count != 0)
    }
}
