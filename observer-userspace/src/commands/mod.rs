//! The subcommands: each a short story in terms of the other modules.
