//! The family's own exchanges, by which it knows whether requests are seen: nobody
//! else counts requests.
//!
//! A question and its answer over a pair of Unix sockets, which both ends are
//! ours: everything has to work so that they come out of the tracer, from the
//! sockets' tracepoints to the parser. They are told apart by their process, which
//! the kernel half leaves alone otherwise, and are in no metric and no span.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use observer_common::requests::Protocol;

use crate::blindness::{Unit, Witness};
use crate::kernel::Kernel;
use crate::kernel::tunables::MappedTunables;
use observer_requests::Finished;

/// Exchanges at each comparison.
const EXCHANGES: u64 = 4;

/// Requests that the tracer sees of each: one at each end.
const ENDS: u64 = 2;

const QUESTION: &[u8] = b"GET / HTTP/1.1\r\nHost: observer\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Makes exchanges and recognises them.
#[derive(Default)]
pub(super) struct OwnExchanges {
    /// HTTP/1 is followed.
    followed: bool,
    /// This process as the kernel half sees it; 0: it can't be told apart.
    tgid: u32,
    tunables: Option<MappedTunables>,
    made: u64,
    seen: u64,
}

impl OwnExchanges {
    /// None yet.
    pub(super) fn of(protocols: &[Protocol]) -> Self {
        Self {
            followed: protocols.contains(&Protocol::Http1),
            ..Self::default()
        }
    }

    /// To be called when requests are followed.
    ///
    /// # Errors
    /// When the kernel half can't be asked which share is followed.
    pub(super) fn begin(&mut self, kernel: &mut Kernel) -> Result<()> {
        self.tgid = kernel.own_tgid();
        self.tunables = Some(kernel.tunables()?);
        Ok(())
    }

    /// Whether a request is one of them.
    pub(super) fn is_own(&self, finished: &Finished) -> bool {
        self.tgid != 0 && finished.tgid == self.tgid
    }

    /// The same, and counts it.
    pub(super) fn recognise(&mut self, finished: &Finished) -> bool {
        let own = self.is_own(finished);
        self.seen += u64::from(own);
        own
    }

    /// What was made and seen so far; makes more, but where only a share of all is
    /// followed.
    pub(super) fn witnesses(&mut self) -> Result<Vec<Witness>> {
        let share = self.tunables.as_ref().map(|all| all.get().request_share);
        if !self.followed || self.tgid == 0 || share != Some(0) {
            return Ok(Vec::new());
        }
        let witness = Witness {
            what: "HTTP requests over Unix sockets".into(),
            source: "Observer, of its own,",
            unit: Unit::Events,
            seen: self.seen,
            counted: self.made,
            least: EXCHANGES * ENDS,
        };
        exchange().context("cannot talk to itself over a pair of sockets")?;
        self.made += EXCHANGES * ENDS;
        Ok(vec![witness])
    }
}

/// Makes them. What is sent waits in the kernel until it is received, so that
/// nothing blocks.
fn exchange() -> Result<()> {
    let (mut client, mut server) = UnixStream::pair()?;
    client.set_nonblocking(true)?;
    server.set_nonblocking(true)?;
    for _ in 0..EXCHANGES {
        pass(&mut client, &mut server, QUESTION)?;
        pass(&mut server, &mut client, ANSWER)?;
    }
    Ok(())
}

fn pass(from: &mut UnixStream, to: &mut UnixStream, message: &[u8]) -> Result<()> {
    let mut room = [0; 128];
    ensure!(
        from.write(message)? == message.len(),
        "it wasn't sent whole"
    );
    ensure!(to.read(&mut room)? == message.len(), "it didn't come whole");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that exchanges need nobody, and that their messages are HTTP that
    /// fits what is read at once.
    #[test]
    fn exchanges_are_made() {
        exchange().expect("a pair of sockets");
        assert!(QUESTION.len() <= 128 && ANSWER.len() <= 128);
        assert!(QUESTION.ends_with(b"\r\n\r\n") && ANSWER.ends_with(b"\r\n\r\nok"));
    }

    /// Checks that none are made where they couldn't be seen.
    #[test]
    fn none_where_none_are_seen() {
        let mut none = OwnExchanges::of(&[Protocol::Redis]);
        none.tgid = 1;
        assert_eq!(none.witnesses().expect("nothing to do"), []);
        let mut unknown = OwnExchanges::of(&[Protocol::Http1]);
        assert_eq!(unknown.witnesses().expect("nothing to do"), []);
        assert_eq!(unknown.made, 0);
    }
}
