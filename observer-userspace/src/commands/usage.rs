//! clap's errors in one line.

use clap::error::{ContextKind, ErrorKind};

/// What is wrong and what was probably meant, without usage and decoration.
pub(super) fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        || error.kind() == ErrorKind::MissingSubcommand
    {
        return "a command is needed: run, record, trace or check; see `observer --help`"
            .to_owned();
    }
    let rendered = error.render().to_string();
    let mut lines = rendered.lines().map(str::trim).filter(|l| !l.is_empty());
    let first = lines.next().unwrap_or("wrong arguments");
    let mut message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    for line in lines {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        // A tip is a sentence of its own; arguments continue one.
        let separator = if message.ends_with(':') { " " } else { "; " };
        let line = line.strip_prefix("tip: ").unwrap_or(line);
        message.push_str(separator);
        message.push_str(line);
    }
    if error
        .context()
        .all(|(kind, _)| kind != ContextKind::SuggestedArg)
        && is_unknown(error)
    {
        message.push_str("; see `observer --help`");
    }
    message
}

fn is_unknown(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
    )
}
