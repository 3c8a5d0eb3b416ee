//! Spans on standard output, for `observer trace`.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::export::terminal;
use crate::export::trace_lines::{Look, Traces, Wanted, line, waterfall};
use crate::signals::Span;

/// Columns where no terminal says how many there are.
const WIDTH: usize = 160;

/// Prints spans as they come.
pub struct Lines {
    wanted: Wanted,
    /// With waterfalls: traces under way.
    traces: Option<Traces>,
    /// Nobody reads any more.
    closed: Arc<Notify>,
}

impl Lines {
    /// One line for each span that is `wanted`, or, for each trace with one,
    /// a waterfall. `closed` is notified when nobody reads any more.
    pub fn new(wanted: Wanted, waterfalls: bool, closed: Arc<Notify>) -> Self {
        Self {
            wanted,
            traces: waterfalls.then(Traces::default),
            closed,
        }
    }

    /// Takes spans; to be called several times a second even without any.
    pub fn take(&mut self, spans: Vec<Span>) {
        let look = look();
        let mut text = String::new();
        match &mut self.traces {
            None => {
                let mut spans: Vec<Span> = spans;
                spans.retain(|span| self.wanted.wants(span));
                spans.sort_by_key(|span| span.end);
                for span in &spans {
                    text.push_str(&line(span, &look));
                    text.push('\n');
                }
            }
            Some(traces) => {
                let now = Instant::now();
                for span in spans {
                    traces.add(span, now);
                }
                text = shown(&traces.whole(now), &self.wanted, &look);
            }
        }
        self.write(&text);
    }

    /// Prints what is left.
    pub fn end(mut self) {
        let Some(traces) = &mut self.traces else {
            return;
        };
        let text = shown(&traces.rest(), &self.wanted, &look());
        let left_out = traces.left_out();
        if left_out > 0 {
            tracing::warn!("{left_out} spans of long traces were left out");
        }
        self.write(&text);
    }

    fn write(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if written.is_err() {
            self.closed.notify_one();
        }
    }
}

/// The traces in which a span is wanted.
fn shown(traces: &[Vec<Span>], wanted: &Wanted, look: &Look) -> String {
    let traces = traces.iter();
    let traces = traces.filter(|spans| spans.iter().any(|span| wanted.wants(span)));
    traces.map(|spans| waterfall(spans, look)).collect()
}

fn look() -> Look {
    let terminal = std::io::stdout().is_terminal();
    let width = terminal.then(terminal::width).flatten();
    Look {
        width: width.unwrap_or(WIDTH),
        colours: terminal && crate::logging::colours_wanted(),
        clock: terminal::local_time,
    }
}
