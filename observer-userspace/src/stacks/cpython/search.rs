//! Looks for interpreters in files on a thread of its own: a file that is looked into for
//! the first time takes milliseconds, and who maps it is sampled meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::io::{PipeWriter, Write};
use std::rc::Rc;
use std::sync::mpsc;

use anyhow::Context as _;
use observer_runtimes::cpython::RuntimeSymbols;

use super::find;
use crate::foreign::FileId;
use crate::stacks::module::Module;

/// The thread's address. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::stacks) struct Search {
    orders: mpsc::Sender<(FileId, File)>,
    found: mpsc::Receiver<(FileId, Option<RuntimeSymbols>)>,
    /// Who is to know what is found.
    pending: HashMap<FileId, Vec<Rc<Module>>>,
}

impl Search {
    /// Starts the thread; `wake` is written a byte when it has looked into a file.
    ///
    /// # Errors
    /// When it can't be started.
    pub(in crate::stacks) fn start(mut wake: PipeWriter) -> anyhow::Result<Self> {
        let (orders, files) = mpsc::channel::<(FileId, File)>();
        let (sender, found) = mpsc::channel();
        std::thread::Builder::new()
            .name("observer-runtimes".into())
            .spawn(move || {
                for (id, file) in files {
                    // Nobody listens any more when the daemon ends.
                    let _ = sender.send((id, find::symbols(id, file)));
                    let _ = wake.write(&[0]);
                }
            })
            .context("can't start the thread that looks for interpreters")?;
        Ok(Self {
            orders,
            found,
            pending: HashMap::new(),
        })
    }

    /// Has a file looked into; the module learns what is found.
    pub(in crate::stacks) fn order(&mut self, module: &Rc<Module>) {
        let id = module.id;
        if let Some(modules) = self.pending.get_mut(&id) {
            if !modules.iter().any(|other| Rc::ptr_eq(other, module)) {
                modules.push(module.clone());
            }
        } else if let Some(file) = module.file() {
            // It only fails when the thread is gone, and then there is no news.
            let _ = self.orders.send((id, file));
            self.pending.insert(id, vec![module.clone()]);
        }
    }

    /// Whether there are files that it has not looked into yet.
    pub(in crate::stacks) fn is_busy(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The next file in which there is one. Modules have been told.
    pub(in crate::stacks) fn hear(&mut self) -> Option<(FileId, RuntimeSymbols)> {
        while let Ok((id, found)) = self.found.try_recv() {
            for module in self.pending.remove(&id).unwrap_or_default() {
                module.set_cpython(found);
            }
            if let Some(symbols) = found {
                return Some((id, symbols));
            }
        }
        None
    }
}
