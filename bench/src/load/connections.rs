//! Connections that are opened and closed at once, as fast as it goes.

use anyhow::Result;

use super::agent::Agent;
use super::{SILENT, bcc, bpftrace, exported, milliseconds, plan, sampled, section, tool_output};
use crate::Options;
use crate::matrix::{self, Figures, Outcome, Peer, Work};
use crate::report::Section;
use observer_testkit::netns::Pair;

/// Names of the two sides, by which tools report them.
pub const CLIENT: &str = "bench-open";
/// See [`CLIENT`].
pub const SERVER: &str = "bench-accept";

/// How long the table takes to fill, in milliseconds: it has places for some
/// hundred thousand.
const FILL: u32 = 4000;

/// Threads of each side.
const THREADS: usize = 2;

/// Runs the benchmark.
pub fn run(options: &Options) -> Result<Section> {
    let plan = plan(
        options,
        "tcp/connections",
        "what opening and closing a connection pays",
        &format!(
            "{THREADS} threads open connections on the loopback and close them at once, as fast as they can; {THREADS} \
             threads of another process accept them and close, too. tcplife and bpftrace tell how long connections \
             lasted, the one line by line, the other as a histogram. Truth: each side's own count."
        ),
    );
    let mut work = Connections::new()?;
    let port = work.port;
    let mut all = matrix::standard(&["tcp"], |observer| {
        sampled(observer)
            .counts("opened", |collector| {
                let opened = |series: &exported::Series| series.of(CLIENT);
                Ok(exported::sum(collector, "observer.tcp.connections.opened", opened)? as f64)
            })
            .counts("accepted", |collector| {
                let accepted = |series: &exported::Series| series.of(SERVER);
                Ok(exported::sum(collector, "observer.tcp.connections.accepted", accepted)? as f64)
            })
    });
    all.push(Box::new(
        bpftrace("bpftrace, histogram of lives", script(port))
            .counts("opened", |printed| tool_output::value(printed, "opened"))
            .counts("accepted", |printed| {
                tool_output::value(printed, "accepted")
            }),
    ));
    all.push(Box::new(
        Peer::new(
            "tcplife (libbpf-tools)",
            ["tcplife", "libbpf-tools"],
            SILENT,
            |_, _| Ok(()),
        )
        .counts("opened", move |printed| {
            Ok(tool_output::connections(printed, port).1)
        })
        .counts("accepted", move |printed| {
            Ok(tool_output::connections(printed, port).0)
        }),
    ));
    all.push(Box::new(bcc("tcplife-bpfcc", "LADDR")));
    all.push(Box::new(bcc("tcptracer-bpfcc", "Tracing")));
    let results = plan.measure(&mut work, &all)?;
    let facts = [("opened", "tcp"), ("accepted", "tcp")];
    Ok(section(&plan, &results, None, &facts, Vec::new()))
}

/// What tcplife does, as a histogram. The states are `TCP_ESTABLISHED`,
/// `TCP_SYN_SENT` and `TCP_CLOSE` of include/net/tcp_states.h.
fn script(port: u64) -> String {
    format!(
        "tracepoint:sock:inet_sock_set_state /args->sport == {port} || args->dport == {port}/ {{ \
           if (args->newstate == 1) {{ @begin[args->skaddr] = nsecs; \
             if (args->oldstate == 2) {{ @opened = count(); }} else {{ @accepted = count(); }} }} \
           if (args->newstate == 7 && @begin[args->skaddr]) {{ \
             @ns = hist(nsecs - @begin[args->skaddr]); delete(@begin[args->skaddr]); }} \
         }} END {{ clear(@begin); }}"
    )
}

/// Both sides, on the loopback of a network namespace of their own.
pub struct Connections {
    client: Agent,
    server: Agent,
    port: u64,
    // Gone after those who live in it, and with it what waits in `TIME_WAIT`.
    _pair: Pair,
}

impl Connections {
    /// Starts both, and has them fill the kernel's table of connections that
    /// wait in `TIME_WAIT`: from then on there are always as many.
    pub fn new() -> Result<Self> {
        let pair = Pair::new()?;
        let mut server = Agent::start(SERVER, Some(&pair.left))?;
        let [port] = server.ask(&format!("serve {THREADS}"))?;
        let mut client = Agent::start(CLIENT, Some(&pair.left))?;
        let [_, _] = client.ask(&format!("connect {port} {THREADS} {FILL}"))?;
        Ok(Self {
            client,
            server,
            port,
            _pair: pair,
        })
    }
}

impl Work for Connections {
    fn unit(&self) -> &'static str {
        "connections/s"
    }

    fn run(&mut self, quick: bool) -> Result<Outcome> {
        let [before] = self.server.ask("accepted")?;
        let command = format!("connect {} {THREADS} {}", self.port, milliseconds(quick));
        let [opened, nanoseconds] = self.client.ask(&command)?;
        let [accepted] = self.server.ask("accepted")?;
        Ok(Outcome {
            rate: opened as f64 * 1e9 / nanoseconds as f64,
            facts: Figures::from([
                ("opened", opened as f64),
                ("accepted", (accepted - before) as f64),
            ]),
            ..Outcome::default()
        })
    }
}
