//! What the metrics are called.

use observer_signals::{Instrument, MetricDef};

type Label = (&'static str, &'static str);

const METHOD: Label = (
    "http.request.method",
    "`GET`, `POST`, …; `_OTHER` for methods that nobody knows",
);
const SCHEME: Label = ("url.scheme", "`http` or `https`");
const STATUS: Label = (
    "http.response.status_code",
    "the answer's status; absent without one",
);
const VERSION: Label = ("network.protocol.version", "`1.0`, `1.1` or `2`");
const ROUTE: Label = (
    "http.route",
    "the path with `{id}` for what there are many of, like `/users/{id}`; `/{other}` beyond 200 routes",
);
const ERROR: Label = (
    "error.type",
    "what went wrong: a status code, a code of the protocol, `timeout`, `connection_closed`, or an error code of HTTP/2; absent otherwise",
);
const SERVER: Label = (
    "server.address",
    "whom the request was for: a name if it was said, else an address",
);
const PORT: Label = ("server.port", "the server's port");
const RPC_SYSTEM: Label = ("rpc.system.name", "`grpc`");
const RPC_METHOD: Label = (
    "rpc.method",
    "the method with its service, like `shop.Orders/Get`",
);
const RPC_STATUS: Label = (
    "rpc.response.status_code",
    "`OK`, `NOT_FOUND`, …; what a client makes of it where the server didn't say",
);
const DB_SYSTEM: Label = ("db.system.name", "`postgresql`, `redis`, …");
const DB_OPERATION: Label = ("db.operation.name", "`SELECT`, `GET`, …");
const DB_SUMMARY: Label = (
    "db.query.summary",
    "operations and tables of the statement, like `SELECT users`",
);
const DB_COLLECTION: Label = ("db.collection.name", "the table, if there is just one");
const DB_NAMESPACE: Label = ("db.namespace", "the database");
const DB_STATUS: Label = (
    "db.response.status_code",
    "the database's code of an error: SQLSTATE, MySQL's number, Redis's prefix, …",
);
const CACHE_RESULT: Label = (
    "observer.cache.result",
    "`hit`, `miss`, `partial` (some of several keys), `stored`, `not_stored`, `exists`: of a cache's operations on keys",
);
const OUTCOME: Label = (
    "observer.outcome",
    "`unknown` where the end of the answer was not seen, nor, therefore, whether it failed",
);
const DNS_NAME: Label = ("dns.question.name", "the name that was asked for");
const PROTOCOL: Label = ("network.protocol.name", "`dns` where it is that");
const OVERFLOW: Label = (
    "otel.metric.overflow",
    "`true`: what found no place among the 500 series that a workload has; then the only attribute",
);

/// Attribute of [`TIME`].
pub const COMPONENT: Label = (
    "observer.time.component",
    "`cpu` (on it), `run_queue` (waiting for it), `disk`, `lock`, `network`, `other` (asleep and all else)",
);

const HTTP_SERVER_LABELS: &[Label] = &[
    METHOD, SCHEME, STATUS, ROUTE, VERSION, OUTCOME, ERROR, OVERFLOW,
];
const HTTP_CLIENT_LABELS: &[Label] = &[
    METHOD, SCHEME, STATUS, VERSION, SERVER, PORT, OUTCOME, ERROR, OVERFLOW,
];
const DB_SERVER_LABELS: &[Label] = &[
    DB_SYSTEM,
    DB_OPERATION,
    DB_SUMMARY,
    DB_COLLECTION,
    DB_NAMESPACE,
    DB_STATUS,
    CACHE_RESULT,
    OUTCOME,
    ERROR,
    OVERFLOW,
];
const DB_CLIENT_LABELS: &[Label] = &[
    DB_SYSTEM,
    DB_OPERATION,
    DB_SUMMARY,
    DB_COLLECTION,
    DB_NAMESPACE,
    DB_STATUS,
    CACHE_RESULT,
    OUTCOME,
    SERVER,
    PORT,
    ERROR,
    OVERFLOW,
];

const fn seconds(
    name: &'static str,
    description: &'static str,
    attributes: &'static [Label],
) -> MetricDef {
    MetricDef {
        name,
        unit: "s",
        instrument: Instrument::Histogram,
        description,
        attributes,
    }
}

const fn active(name: &'static str, description: &'static str) -> MetricDef {
    MetricDef {
        name,
        unit: "{request}",
        instrument: Instrument::UpDownCounter,
        description,
        attributes: &[SCHEME],
    }
}

/// HTTP requests that were served.
pub static HTTP_SERVER: MetricDef = seconds(
    "http.server.request.duration",
    "Duration of HTTP requests that the workload served, from the head's first byte to the answer's last.",
    HTTP_SERVER_LABELS,
);
/// HTTP requests that were made.
pub static HTTP_CLIENT: MetricDef = seconds(
    "http.client.request.duration",
    "Duration of HTTP requests that the workload made, from the head's first byte to the answer's last.",
    HTTP_CLIENT_LABELS,
);
/// HTTP requests that are being served.
pub static HTTP_SERVER_ACTIVE: MetricDef = active(
    "http.server.active_requests",
    "HTTP requests that the workload serves at the moment.",
);
/// HTTP requests that are being made.
pub static HTTP_CLIENT_ACTIVE: MetricDef = active(
    "http.client.active_requests",
    "HTTP requests that the workload waits for at the moment.",
);
/// gRPC calls that were served.
pub static RPC_SERVER: MetricDef = seconds(
    "rpc.server.call.duration",
    "Duration of gRPC calls that the workload served.",
    &[RPC_SYSTEM, RPC_METHOD, RPC_STATUS, ERROR, OVERFLOW],
);
/// gRPC calls that were made.
pub static RPC_CLIENT: MetricDef = seconds(
    "rpc.client.call.duration",
    "Duration of gRPC calls that the workload made.",
    &[
        RPC_SYSTEM, RPC_METHOD, RPC_STATUS, SERVER, PORT, ERROR, OVERFLOW,
    ],
);
/// Databases' operations, as asked for.
pub static DB_CLIENT: MetricDef = seconds(
    "db.client.operation.duration",
    "Duration of operations that the workload asked a database for.",
    DB_CLIENT_LABELS,
);
/// Databases' operations, as carried out.
pub static DB_SERVER: MetricDef = seconds(
    "observer.db.server.operation.duration",
    "Duration of operations that the workload, a database, carried out.",
    DB_SERVER_LABELS,
);
/// Look-ups.
pub static DNS_CLIENT: MetricDef = seconds(
    "dns.lookup.duration",
    "Duration of look-ups of names that the workload made, unanswered ones included.",
    &[DNS_NAME, ERROR, OVERFLOW],
);
/// Look-ups that were answered.
pub static DNS_SERVER: MetricDef = seconds(
    "observer.dns.server.lookup.duration",
    "Duration of look-ups of names that the workload, a name server, answered.",
    &[DNS_NAME, ERROR, OVERFLOW],
);
/// Where the time of requests went.
pub static TIME: MetricDef = seconds(
    "observer.request.time",
    "Where the time of a served request went, for requests that one thread handled without another in between: one value for each component, which together are its duration.",
    &[
        ROUTE,
        RPC_METHOD,
        DB_SYSTEM,
        DB_OPERATION,
        PROTOCOL,
        COMPONENT,
        OVERFLOW,
    ],
);

/// Attributes of [`UNFOLLOWED`].
pub const WHAT: Label = (
    "network.protocol.name",
    "`http`, `postgresql`, `dns`, …: of which protocol",
);
/// See [`WHAT`].
pub const WHICH: Label = (
    "network.protocol.version",
    "`2` for HTTP/2; absent otherwise",
);
/// See [`WHAT`].
pub const WHOSE: Label = ("network.connection.role", "`client` or `server`");
/// See [`WHAT`].
pub const WHY: Label = (
    "observer.request.unfollowed.reason",
    "`share`: to save costs (the governor, or `--requests-share`); `no_room`: the daemon was late, or had to share its time with too many others",
);
/// Exchanges that weren't followed.
pub static UNFOLLOWED: MetricDef = MetricDef {
    name: "observer.request.unfollowed",
    unit: "{request}",
    instrument: Instrument::Counter,
    description: "Requests that were only counted, and are in no other metric. Those that were sent together without waiting for answers are one.",
    attributes: &[WHAT, WHICH, WHOSE, WHY],
};

/// All of them.
pub static METRICS: &[&MetricDef] = &[
    &HTTP_SERVER,
    &HTTP_CLIENT,
    &HTTP_SERVER_ACTIVE,
    &HTTP_CLIENT_ACTIVE,
    &RPC_SERVER,
    &RPC_CLIENT,
    &DB_CLIENT,
    &DB_SERVER,
    &DNS_CLIENT,
    &DNS_SERVER,
    &TIME,
    &UNFOLLOWED,
];
