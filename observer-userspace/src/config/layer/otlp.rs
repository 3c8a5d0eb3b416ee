//! `[otlp]`.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Deserializer};

use crate::config::layered::{Layered, layered};
use crate::config::units::{Period, Size};
use crate::config::values::Header;

layered! {
    /// Where to send OTLP; unset values come from the OTEL_EXPORTER_OTLP_* variables.
    #[derive(Args, Clone, Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    #[command(next_help_heading = "OTLP export (unset: the OTEL_EXPORTER_OTLP_* variables)")]
    pub struct OtlpLayer {
        /// Send metrics, spans and profiles there [default: only print a summary]
        #[arg(long = "otlp-endpoint", id = "otlp-endpoint", value_name = "URL")]
        pub endpoint: Option<String>,
        /// grpc or http/protobuf [default: grpc for port 4317, else http/protobuf]
        #[arg(long = "otlp-protocol", id = "otlp-protocol", value_name = "PROTOCOL")]
        pub protocol: Option<String>,
        /// Send this header with every request; may be repeated
        #[arg(long = "otlp-header", id = "otlp-header", value_name = "NAME=VALUE")]
        #[serde(deserialize_with = "headers_from_table")]
        pub headers: Option<Vec<Header>>,
        /// gzip or none [default: none]
        #[arg(
            long = "otlp-compression",
            id = "otlp-compression",
            value_name = "NAME"
        )]
        pub compression: Option<String>,
        /// How long one request may take [default: 10s]
        #[arg(long = "otlp-timeout", id = "otlp-timeout", value_name = "DURATION")]
        pub timeout: Option<Period>,
        /// Trust this CA (PEM) instead of the system's
        #[arg(
            long = "otlp-certificate",
            id = "otlp-certificate",
            value_name = "FILE"
        )]
        pub certificate: Option<PathBuf>,
        /// Present this certificate (PEM) to the endpoint
        #[arg(
            long = "otlp-client-certificate",
            id = "otlp-client-certificate",
            value_name = "FILE"
        )]
        pub client_certificate: Option<PathBuf>,
        /// The key (PEM) of the client certificate
        #[arg(long = "otlp-client-key", id = "otlp-client-key", value_name = "FILE")]
        pub client_key: Option<PathBuf>,
        /// cumulative, delta or lowmemory [default: cumulative]
        #[arg(
            long = "otlp-temporality",
            id = "otlp-temporality",
            value_name = "NAME"
        )]
        pub temporality: Option<String>,
        /// Export metrics [default: true]
        #[arg(long = "otlp-metrics", id = "otlp-metrics", value_name = "BOOL")]
        pub metrics: Option<bool>,
        /// Export spans [default: true]
        #[arg(long = "otlp-traces", id = "otlp-traces", value_name = "BOOL")]
        pub traces: Option<bool>,
        /// Export profiles [default: true]
        #[arg(long = "otlp-profiles", id = "otlp-profiles", value_name = "BOOL")]
        pub profiles: Option<bool>,
        /// Memory for data that the endpoint hasn't taken yet [default: 32MiB]
        #[arg(long = "otlp-queue-size", id = "otlp-queue-size", value_name = "SIZE")]
        pub queue_size: Option<Size>,
    }
}

/// In the file headers are a table: `headers = { authorization = "Bearer …" }`.
fn headers_from_table<'de, D>(deserializer: D) -> Result<Option<Vec<Header>>, D::Error>
where
    D: Deserializer<'de>,
{
    let table = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
    let headers = table
        .into_iter()
        .map(|(name, value)| Header { name, value });
    Ok(Some(headers.collect()))
}
