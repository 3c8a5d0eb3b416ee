//! A file system that answers some, in the kernel's own protocol
//! (`include/uapi/linux/fuse.h`): messages of native byte order that begin with a header of
//! 40 bytes; answers with one of 16.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write as _};

use anyhow::{Context, Result};

/// The one file: its name and its node. The folder is node 1.
pub const NAME: &str = "file";
const FILE: u64 = 2;
const ROOT: u64 = 1;

/// `enum fuse_opcode`.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const ACCESS: u32 = 34;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// How long names and attributes are good for, in seconds: who may see them asks
/// once, and nobody else finds them in a cache of the kernel's.
const VALID: u64 = 1;

/// How often a page is asked for without the lock: ahead of its use, and by the fault
/// that lets go of the lock. The fault that is tried again holds it.
const UNLOCKED: u32 = 2;

/// Bytes of the largest message: a page for the head and what may be written.
const MAX_MESSAGE: usize = 1 << 17;

/// What a file system answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// To everybody, but for the page: an error first, then nothing.
    Page,
    /// The program that this is, to its parent only.
    Program,
    /// That there is nothing, to its parent only.
    Nothing,
}

/// Serves one.
pub struct Server {
    device: File,
    contents: Vec<u8>,
    serve: Serve,
    parent: u32,
    /// How often each place was read.
    asked: HashMap<u64, u32>,
}

impl Server {
    /// Serves by `device`; `parent` is who is answered where not everybody is.
    pub fn new(device: File, contents: Vec<u8>, serve: Serve, parent: u32) -> Self {
        Self {
            device,
            contents,
            serve,
            parent,
            asked: HashMap::new(),
        }
    }

    /// Answers until the file system is gone.
    pub fn run(&mut self) -> Result<()> {
        let mut message = vec![0; MAX_MESSAGE];
        loop {
            let length = match self.device.read(&mut message) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let message = message.get(..length).context("a message")?;
            self.answer(message)?;
        }
    }

    fn answer(&mut self, message: &[u8]) -> Result<()> {
        let word =
            |at: usize| u32::from_ne_bytes(message[at..at + 4].try_into().unwrap_or_default());
        let long =
            |at: usize| u64::from_ne_bytes(message[at..at + 8].try_into().unwrap_or_default());
        let (opcode, unique, node, pid) = (word(4), long(8), long(16), word(32));
        let is_family = self.serve == Serve::Page || self.is_family(pid);
        let reply = match opcode {
            INIT => Ok(self.init(word(44))),
            FORGET | BATCH_FORGET | INTERRUPT => return Ok(()),
            // Whoever else asks waits for ever.
            _ if !is_family => return Ok(()),
            LOOKUP => self.lookup(&message[40..]),
            GETATTR => Ok([VALID, 0]
                .map(u64::to_ne_bytes)
                .concat()
                .into_iter()
                .chain(self.attributes(node))
                .collect()),
            OPEN => Ok(vec![0; 16]),
            READ => {
                let (offset, size) = (long(48), word(56) as usize);
                let times = self.asked.entry(offset).or_default();
                *times += 1;
                match (self.serve, *times) {
                    (Serve::Page, 1..=UNLOCKED) => Err(libc::EIO),
                    (Serve::Page, _) => return Ok(()),
                    _ => {
                        let from = (offset as usize).min(self.contents.len());
                        let to = (from + size).min(self.contents.len());
                        Ok(self.contents[from..to].to_vec())
                    }
                }
            }
            RELEASE | FLUSH | ACCESS => Ok(Vec::new()),
            _ => Err(libc::ENOSYS),
        };
        let (error, body) = match reply {
            Ok(body) => (0, body),
            Err(errno) => (-errno, Vec::new()),
        };
        let mut answer = Vec::with_capacity(16 + body.len());
        answer.extend((16 + body.len() as u32).to_ne_bytes());
        answer.extend(error.to_ne_bytes());
        answer.extend(unique.to_ne_bytes());
        answer.extend(body);
        // Who asked may be gone.
        let _ = self.device.write(&answer);
        Ok(())
    }

    /// Whether `pid` is the parent. Work that the kernel does for nobody is its own.
    fn is_family(&self, pid: u32) -> bool {
        pid == self.parent || pid == 0
    }

    /// `struct fuse_init_out`.
    fn init(&self, minor: u32) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [7, minor.min(31), 1 << 17, 0, 12 | 9 << 16, 1 << 16, 1, 32] {
            out.extend(u32::to_ne_bytes(word));
        }
        out.resize(64, 0);
        out
    }

    /// `struct fuse_entry_out`.
    fn lookup(&self, name: &[u8]) -> Result<Vec<u8>, i32> {
        let is_there =
            self.serve != Serve::Nothing && name.strip_suffix(b"\0") == Some(NAME.as_bytes());
        if !is_there {
            return Err(libc::ENOENT);
        }
        let head = [FILE, 0, VALID, VALID, 0].map(u64::to_ne_bytes).concat();
        Ok(head.into_iter().chain(self.attributes(FILE)).collect())
    }

    /// `struct fuse_attr`.
    fn attributes(&self, node: u64) -> Vec<u8> {
        let (mode, size) = match node {
            ROOT => (libc::S_IFDIR | 0o755, 0),
            _ => (libc::S_IFREG | 0o755, self.contents.len() as u64),
        };
        let mut out = [node, size, size.div_ceil(512), 0, 0, 0]
            .map(u64::to_ne_bytes)
            .concat();
        for word in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
            out.extend(u32::to_ne_bytes(word));
        }
        out
    }
}
