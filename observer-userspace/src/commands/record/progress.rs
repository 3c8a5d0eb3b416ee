//! How far a recording is, for people.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar to the time's end, or a spinner; nothing where nobody looks.
pub(super) fn progress_bar(limit: Option<Duration>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match limit {
        Some(limit) => (
            ProgressBar::new(limit.as_millis() as u64),
            "recording {wide_bar} {elapsed} (Ctrl-C ends it early)",
        ),
        None => (
            ProgressBar::new_spinner(),
            "recording {spinner} {elapsed} (until the command ends)",
        ),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
