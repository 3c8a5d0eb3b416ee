//! One process: the programs that it ran, and its root directory.

use std::rc::Rc;

use super::images::Image;
use super::roots::{Place, Root};

/// Programs remembered per process and interval.
const MAX_IMAGES: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Process {
    /// Oldest first; the last is what runs now.
    images: Vec<Image>,
    /// Its root directory, held open so that it outlives the process.
    pub(super) root: Option<Rc<Root>>,
    /// Its leader ended.
    pub(super) ended: bool,
    /// `/proc/PID/maps` was read again in this interval.
    pub(super) refreshed: bool,
}

impl Process {
    /// The image that explains `addresses` best; of equals the one whose
    /// process name is `comm`, then the newest.
    pub(super) fn image(&self, comm: &str, addresses: &[u64]) -> Option<&Image> {
        if let [only] = self.images.as_slice() {
            return Some(only);
        }
        self.images.iter().max_by_key(|image| {
            let found = addresses.iter().filter(|a| image.find(**a).is_some());
            (found.count(), image.comm == comm)
        })
    }

    /// What it runs now.
    pub(super) fn current_image(&self) -> Option<&Image> {
        self.images.last()
    }

    /// Where its files lie; nowhere if it ended before anybody looked.
    pub(super) fn place(&self, pid: u32) -> Place {
        let held = self.root.as_ref().and_then(|root| Place::held(root));
        held.unwrap_or_else(|| match self.ended {
            true => Place::Gone,
            false => Place::Now(pid),
        })
    }

    /// What it runs now, to be changed.
    pub(super) fn current(&mut self) -> &mut Image {
        let last = self.images.pop().unwrap_or_default();
        self.images.push_mut(last)
    }

    /// It runs another program from now on.
    pub(super) fn begin(&mut self, image: Image) {
        if self.images.len() >= MAX_IMAGES {
            self.images.remove(0);
        }
        self.images.push(image);
    }

    /// Replaces what is known of the program that it runs.
    pub(super) fn replace(&mut self, image: Image) {
        *self.current() = image;
    }

    /// Forgets the programs that it ran before.
    pub(super) fn forget_earlier(&mut self) {
        if self.images.len() > 1 {
            self.images.drain(..self.images.len() - 1);
        }
    }
}
