//! `[requests]`.

use clap::Args;
use observer_common::requests::Protocol;
use serde::Deserialize;

use crate::config::layered::{Layered, layered};
use crate::config::units::{Positive, Size, from_texts};
use crate::config::values::RequestProtocol;
use observer_requests::redact::{Glob, Rule};
use observer_requests::routes::Pattern;

layered! {
    /// What to see of requests, and what to tell of them.
    #[derive(Args, Clone, Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    #[command(next_help_heading = "Requests")]
    pub struct RequestLayer {
        /// Which traces to keep: always_on, always_off, traceidratio, or parentbased_ and one of these;
        /// errors and the slowest 1 % are kept in any case, but for always_off
        /// [env: OTEL_TRACES_SAMPLER] [default: parentbased_always_on]
        #[arg(long = "traces-sampler", id = "traces-sampler", value_name = "NAME")]
        pub traces_sampler: Option<String>,
        /// The ratio of traceidratio, from 0 to 1 [env: OTEL_TRACES_SAMPLER_ARG] [default: 1]
        #[arg(
            long = "traces-sampler-arg",
            id = "traces-sampler-arg",
            value_name = "RATIO"
        )]
        pub traces_sampler_arg: Option<String>,
        /// At most so many traces per second and workload [default: 1000, or no limit where a sampler
        /// is chosen]
        #[arg(long = "requests-rate", id = "requests-rate", value_name = "N")]
        pub rate: Option<Positive>,
        /// So many traces may come at once before the rate applies [default: five times the rate]
        #[arg(long = "requests-burst", id = "requests-burst", value_name = "N")]
        pub burst: Option<Positive>,
        /// Protocols to follow.
        #[arg(
            long = "requests-protocols",
            help = format!(
                "Protocols to follow, separated by commas [default: all of {}]",
                Protocol::NAMES
            ),
            id = "requests-protocols",
            value_name = "NAMES",
            value_delimiter = ',',
            num_args = 1
        )]
        pub protocols: Option<Vec<RequestProtocol>>,
        /// Look into OpenSSL and BoringSSL for what is encrypted, and into Go's net/http [default: true]
        #[arg(long = "requests-tls", id = "requests-tls", value_name = "BOOL")]
        pub tls: Option<bool>,
        /// Find sockets by their descriptors even where the kernel tells of them, as is done before
        /// 6.3 (costs performance) [default: false]
        #[arg(
            long = "requests-by-descriptor",
            id = "requests-by-descriptor",
            value_name = "BOOL",
            hide = true
        )]
        pub by_descriptor: Option<bool>,
        /// Of 2^N exchanges follow one, from 32 on none, and count the others [default: 0]
        #[arg(
            long = "requests-share",
            id = "requests-share",
            value_name = "N",
            hide = true
        )]
        pub share: Option<u32>,
        /// Bytes to take of a message's beginning, 4KiB at most [default: 512]
        #[arg(
            long = "requests-capture",
            id = "requests-capture",
            value_name = "SIZE"
        )]
        pub capture: Option<Size>,
        /// Ring buffer of requests; a power of two [default: 2MiB]
        #[arg(long = "requests-ring", id = "requests-ring", value_name = "SIZE")]
        pub ring: Option<Size>,
        /// Hide this, too: a path with `*` where the secret is (`/reset/*`), or a word (`*secret*`);
        /// may be repeated
        #[arg(
            long = "requests-redact",
            id = "requests-redact",
            value_name = "PATTERN"
        )]
        #[serde(deserialize_with = "from_texts")]
        pub redact: Option<Vec<Rule>>,
        /// Don't hide the values of these parameters of query strings; may be repeated, with `*`
        #[arg(
            long = "requests-query-key",
            id = "requests-query-key",
            value_name = "NAME"
        )]
        #[serde(deserialize_with = "from_texts")]
        pub query_keys: Option<Vec<Glob>>,
        /// Routes that are known (`/api/{tenant}/users/{id}`); may be repeated, the first that matches
        /// wins over what is guessed
        #[arg(long = "requests-route", id = "requests-route", value_name = "ROUTE")]
        #[serde(deserialize_with = "from_texts")]
        pub routes: Option<Vec<Pattern>>,
    }
}
