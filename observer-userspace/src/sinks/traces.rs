//! Spans on standard output, for `observer trace`.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Notify;

use super::printer::Printer;
use super::{Shutdown, Sink, Wants};
use crate::logging::colours_wanted;
use observer_export::terminal::{self, Shown};
use observer_export::trace_lines::{Look, Traces, Wanted, line, waterfall};
use observer_signals::Span;

/// Columns where no terminal says how many there are.
const WIDTH: usize = 160;

/// Prints spans as they come.
pub struct TracePrinter {
    printer: Printer,
    wanted: Wanted,
    /// With waterfalls: traces under way.
    traces: Option<Traces>,
}

impl TracePrinter {
    /// One line for each span that is `wanted`, or, for each trace with one,
    /// a waterfall. `closed` is notified when nobody reads any more.
    ///
    /// # Errors
    /// The thread that prints can't be started.
    pub fn start(wanted: Wanted, waterfalls: bool, closed: Arc<Notify>) -> Result<Self> {
        Ok(Self {
            printer: Printer::start(move || closed.notify_one())?,
            wanted,
            traces: waterfalls.then(Traces::default),
        })
    }

    /// What is left of the traces under way.
    fn rest(&mut self) -> Shown {
        let Some(traces) = &mut self.traces else {
            return Shown::default();
        };
        let text = shown(&traces.rest(), &self.wanted, &look());
        let left_out = traces.left_out();
        if left_out > 0 {
            tracing::warn!("{left_out} spans of long traces were left out");
        }
        text
    }
}

impl Sink for TracePrinter {
    fn name(&self) -> &'static str {
        "traces"
    }

    fn wants(&self) -> Wants {
        Wants {
            spans: true,
            ..Wants::default()
        }
    }

    fn spans(&mut self, spans: &[Span]) -> Result<()> {
        let look = look();
        let mut text = Shown::default();
        match &mut self.traces {
            None => {
                let spans = spans.iter().filter(|span| self.wanted.wants(span));
                let mut spans: Vec<&Span> = spans.collect();
                spans.sort_by_key(|span| span.end);
                for span in spans {
                    text.push(line(span, &look));
                    text.end_line();
                }
            }
            Some(traces) => {
                let now = Instant::now();
                for span in spans {
                    traces.add(span.clone(), now);
                }
                text = shown(&traces.whole(now), &self.wanted, &look);
            }
        }
        self.printer.print(text)
    }

    fn shutdown(mut self: Box<Self>, limit: Duration) -> Shutdown {
        let text = self.rest();
        if let Err(error) = self.printer.print(text) {
            tracing::warn!("the last traces are lost: {error:#}");
        }
        let finish = self.printer.finish(limit);
        Box::pin(async move {
            finish.await;
            Ok(())
        })
    }
}

/// The traces in which a span is wanted.
fn shown(traces: &[Vec<Span>], wanted: &Wanted, look: &Look) -> Shown {
    let traces = traces.iter();
    let traces = traces.filter(|spans| spans.iter().any(|span| wanted.wants(span)));
    traces.map(|spans| waterfall(spans, look)).collect()
}

fn look() -> Look {
    let terminal = io::stdout().is_terminal();
    let width = terminal.then(terminal::width).flatten();
    Look {
        width: width.unwrap_or(WIDTH),
        colours: terminal && colours_wanted(),
        clock: terminal::local_time,
    }
}
