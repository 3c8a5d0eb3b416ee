//! Where signals go: OTLP, files, the terminal.
