//! `[prometheus]`.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use crate::config::address::ScrapeAddress;
use crate::config::layered::{Layered, layered};

layered! {
    /// Where Prometheus may scrape, and who.
    #[derive(Args, Clone, Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    #[command(next_help_heading = "Prometheus")]
    pub struct PrometheusLayer {
        /// Serve metrics and health at this address, or this port of the loopback
        /// [default: serve nothing]
        #[arg(long = "prometheus", id = "prometheus", value_name = "ADDR")]
        pub address: Option<ScrapeAddress>,
        /// Metrics only for who shows the token in this file, as Bearer or as the password
        /// of Basic
        #[arg(long = "prometheus-token-file", id = "prometheus-token-file", value_name = "FILE")]
        pub token_file: Option<PathBuf>,
        /// Serve them by TLS with this certificate and its chain (PEM)
        #[arg(long = "prometheus-certificate", id = "prometheus-certificate", value_name = "FILE")]
        pub certificate: Option<PathBuf>,
        /// The certificate's key (PEM)
        #[arg(long = "prometheus-key", id = "prometheus-key", value_name = "FILE")]
        pub key: Option<PathBuf>,
        /// Let everybody scrape who reaches an address other than the loopback's
        /// [default: only who shows the token]
        #[arg(long = "prometheus-open", id = "prometheus-open", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        pub open: Option<bool>,
    }
}
