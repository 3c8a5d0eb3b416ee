//! The side that answers.

use super::body::{Body, Framing, Taken};
use super::head::{self, AnswerHead, MAX_HEAD, Parsed};
use super::known;
use super::open::Queue;
use crate::call::{Failure, Method};
use crate::input::Input;
use crate::protocol::Events;

/// What ends most bodies in chunks (RFC 9112, 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// The same behind another chunk.
const AND_LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// An answer whose end can't be told from its bytes is over when none came for so long
/// (ns): longer than servers pause in what they send at once, and shorter than the
/// interval in which figures are exported.
pub(super) const QUIET: u64 = 2_000_000_000;

/// Where the side that answers is, in the answer to the first open request.
#[derive(Debug, Default)]
pub(super) struct Answers {
    state: State,
    /// A head that isn't complete.
    half: Vec<u8>,
    /// When the last bytes of an answer came.
    last: u64,
}

/// What comes next.
#[derive(Debug, Default)]
enum State {
    /// An answer.
    #[default]
    Between,
    /// The rest of its head.
    Head,
    /// The rest of its body.
    Body(Body),
    /// So many bytes came of its body, which ends with the connection.
    UntilClose(u64),
    /// HTTP/2, and in it the answer.
    Http2,
    /// Something; where the answer ends isn't known.
    Lost {
        /// Whether its head was seen.
        begun: bool,
    },
}

impl Answers {
    /// Forgets what is under way.
    pub fn reset(&mut self) {
        self.state = State::Between;
        self.half = Vec::new();
    }

    /// A request begins: if nobody could tell where the answer before it ends,
    /// it does so here.
    pub fn end_lost(&mut self, open: &mut Queue, out: &mut Events) {
        let State::Lost { begun } = self.state else {
            return;
        };
        if begun {
            open.end(self.last, out);
        }
        // The others' answers were not seen.
        open.abandon(out);
        self.reset();
    }

    /// Whether nobody can tell from bytes where the answer ends.
    pub fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost { .. })
    }

    /// Whether the answer, and all that comes behind it, is HTTP/2's.
    pub fn is_http2(&self) -> bool {
        matches!(self.state, State::Http2)
    }

    /// It is `now`: an answer whose end wasn't seen ended with its last bytes, if these
    /// came [`QUIET`] ago.
    pub fn end_quiet(&mut self, now: u64, open: &mut Queue, out: &mut Events) {
        if self.is_lost() && now.saturating_sub(self.last) >= QUIET {
            self.end_lost(open, out);
        }
    }

    /// Takes a chunk that came at `ended`.
    pub fn take(&mut self, input: &mut Input<'_>, ended: u64, open: &mut Queue, out: &mut Events) {
        if let State::Lost { begun } = self.state
            && open.len() > 1
            && input.data.len() > 8
            && head::begins_answer(input.data)
        {
            // The next one's answer, or that of one behind it.
            if begun {
                open.end(self.last, out);
            } else {
                open.abandon(out);
            }
            self.reset();
        }
        // By itself it can hardly be anything else.
        if matches!(self.state, State::Lost { begun: true })
            && input.hidden == 0
            && (input.data == LAST_CHUNK || input.data.ends_with(AND_LAST_CHUNK))
        {
            open.end(ended, out);
            self.reset();
            return;
        }
        while !input.is_empty() && !open.is_empty() {
            match &mut self.state {
                State::Between | State::Head => {
                    if !self.head(input, ended, open, out) {
                        break;
                    }
                }
                State::Body(body) => match body.take(input) {
                    Taken::More => {}
                    Taken::Over => {
                        let size = body.size;
                        self.end(size, ended, open, out);
                    }
                    Taken::Lost => self.state = State::Lost { begun: true },
                    Taken::Invalid => {
                        out.failed += 1;
                        self.state = State::Lost { begun: true };
                    }
                },
                State::UntilClose(size) => {
                    *size = size.saturating_add(input.left());
                    break;
                }
                State::Lost { .. } | State::Http2 => break,
            }
        }
        self.last = ended;
    }

    /// The first open request's answer is over.
    fn end(&mut self, size: u64, ended: u64, open: &mut Queue, out: &mut Events) {
        if let Some(open) = open.front() {
            open.http.response_size = Some(size);
        }
        open.end(ended, out);
        self.state = State::Between;
    }

    /// Takes a head, or what there is of it. Says whether to go on.
    fn head(
        &mut self,
        input: &mut Input<'_>,
        ended: u64,
        open: &mut Queue,
        out: &mut Events,
    ) -> bool {
        let Some(first) = open.front() else {
            return false;
        };
        let method = first.http.method;
        let before = self.half.len();
        if before == 0 {
            while let [b'\r' | b'\n', rest @ ..] = input.data {
                input.data = rest;
            }
            if input.data.is_empty() {
                if !input.is_empty() {
                    self.lose(false);
                }
                return false;
            }
            if !head::begins_answer(input.data) {
                // The rest of something that began before it was looked at.
                out.failed += 1;
                return false;
            }
            first.answered = Some(ended);
        } else {
            let room = MAX_HEAD.saturating_sub(before);
            self.half.extend(input.first(room));
        }
        let data = if before == 0 { input.data } else { &self.half };
        let parsed = if before == 0 || head::has_end(data, before) {
            known::answer(data, method)
        } else {
            Parsed::Partial
        };
        match parsed {
            Parsed::Whole(head, length) => {
                input.take(length.saturating_sub(before));
                if !self.half.is_empty() {
                    self.half = Vec::new();
                }
                self.behind(&head, method, ended, open, out)
            }
            Parsed::Partial if input.hidden > 0 || data.len() >= MAX_HEAD => {
                let status =
                    head::whole_lines(data).and_then(|lines| match head::answer(&lines, method) {
                        Parsed::Whole(head, _) if head.status >= 200 => Some(head.status),
                        _ => None,
                    });
                first.http.status = status;
                self.lose(status.is_some());
                false
            }
            Parsed::Partial => {
                if before == 0 {
                    self.half = input.data.to_vec();
                }
                self.state = State::Head;
                false
            }
            Parsed::Invalid => {
                out.failed += 1;
                self.lose(false);
                false
            }
        }
    }

    fn lose(&mut self, begun: bool) {
        self.half = Vec::new();
        self.state = State::Lost { begun };
    }

    /// What comes after a head.
    fn behind(
        &mut self,
        head: &AnswerHead,
        method: Method,
        ended: u64,
        open: &mut Queue,
        out: &mut Events,
    ) -> bool {
        let AnswerHead {
            status, framing, ..
        } = *head;
        // Of several requests nobody knows what becomes.
        if head.to_http2 && open.len() == 1 {
            self.state = State::Http2;
            return false;
        }
        let Some(first) = open.front() else {
            return false;
        };
        // RFC 9110, 15.2: others come before the answer.
        if status < 200 && status != 101 {
            first.answered = None;
            self.state = State::Between;
            return true;
        }
        first.http.status = Some(status);
        // From here on it speaks something else (RFC 9110, 7.8 and 9.3.6).
        if status == 101 || (method == Method::Connect && (200..300).contains(&status)) {
            first.http.response_size = Some(0);
            open.end(ended, out);
            open.abandon(out);
            out.finished = true;
            out.left = true;
            return false;
        }
        self.state = match framing {
            Framing::None => {
                self.end(0, ended, open, out);
                return true;
            }
            Framing::Length(length) => State::Body(Body::of_length(length)),
            Framing::Chunked => State::Body(Body::chunked()),
            Framing::UntilClose => State::UntilClose(0),
            Framing::Unknown => State::Lost { begun: true },
        };
        true
    }

    /// The connection ended at `at`, and with it what was open.
    pub fn close(&mut self, at: u64, open: &mut Queue, out: &mut Events) {
        if let Some(first) = open.front() {
            match &self.state {
                State::UntilClose(size) => {
                    first.http.response_size = Some(*size);
                    open.end(self.last, out);
                }
                // Whether the others were answered isn't known.
                State::Lost { begun } => {
                    if *begun {
                        open.end(self.last, out);
                    }
                    open.abandon(out);
                }
                State::Body(body) => {
                    first.http.response_size = Some(body.size);
                    first.http.failure = Some(Failure::Closed);
                    open.end(at, out);
                }
                State::Between | State::Head | State::Http2 => {}
            }
        }
        while let Some(first) = open.front() {
            first.http.failure = Some(Failure::Closed);
            first.answered = None;
            open.end(at, out);
        }
        self.reset();
    }
}
