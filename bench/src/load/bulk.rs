//! A transfer over a cable that loses packets.

use anyhow::{Context, Result, ensure};

use super::agent::Agent;
use super::{bcc, exported, milliseconds, plan, sampled, section, tool_output};
use crate::Options;
use crate::matrix::{self, Figures, Outcome, Peer, Work};
use crate::report::Section;
use observer_testkit::netns::Pair;
use observer_testkit::packages::program;

/// Names of the two sides, by which tools report them.
pub const SENDER: &str = "bench-send";
/// See [`SENDER`].
pub const RECEIVER: &str = "bench-receive";

/// The cable's speed: about what a core can send, so that it is the same in all
/// rounds.
const SPEED: &str = "1gbit";

/// Who sends again to whom, as tcpretrans has it.
const BPFTRACE: &str = "tracepoint:tcp:tcp_retransmit_skb \
     { @retransmits = count(); @to[ntop(args->family, args->daddr), args->dport] = count(); }";

/// Connections at once: what happens to one of them by chance doesn't matter.
const CONNECTIONS: usize = 4;

/// Drops each hundredth packet or so: classic BPF as tc-bpf(8) has it, which is
/// there where netem isn't.
///
/// Nothing is read of the packet: `ld rand` (`SKF_AD_OFF + SKF_AD_RANDOM`),
/// `mod #100`, `jeq #0`, and as verdicts `TC_ACT_SHOT` and `TC_ACT_UNSPEC` of
/// include/uapi/linux/pkt_cls.h.
const LOSS: &str = "5,32 0 0 4294963256,148 0 0 100,21 0 1 0,6 0 0 2,6 0 0 4294967295";

/// Runs the benchmark.
pub fn run(options: &Options) -> Result<Section> {
    let plan = plan(
        options,
        "tcp/loss",
        "what a transfer pays that loses packets",
        &format!(
            "{CONNECTIONS} connections send all the time over a cable of {SPEED} between two network namespaces, \
             which loses one packet in a hundred where it arrives. Truth: segments sent again are the sender's \
             `RetransSegs` (bpftrace counts the kernel's events: each may be several segments, and newer kernels \
             have them for attempts that come to nothing, too)."
        ),
    );
    let mut work = Bulk::new()?;
    let mut all = matrix::standard(&["tcp"], |observer| {
        sampled(observer).counts("segments", |collector| {
            let sent = |series: &exported::Series| series.of(SENDER);
            Ok(exported::sum(collector, "observer.tcp.retransmits", sent)? as f64)
        })
    });
    all.push(Box::new(
        Peer::bpftrace("bpftrace, retransmissions by peer", BPFTRACE)
            .counts("segments", |printed| {
                tool_output::value(printed, "retransmits")
            }),
    ));
    all.push(Box::new(bcc("tcpretrans-bpfcc", "Tracing")));
    let results = plan.measure(&mut work, &all)?;
    Ok(section(
        &plan,
        &results,
        None,
        &[("segments", "tcp")],
        Vec::new(),
    ))
}

/// Two network namespaces with the cable between them, and who sends.
pub struct Bulk {
    sender: Agent,
    _receiver: Agent,
    to: String,
    // Gone after those who live in it.
    _pair: Pair,
}

impl Bulk {
    /// Joins them; nothing is sent yet.
    ///
    /// # Errors
    /// Also when the kernel can't drop packets by a program.
    pub fn new() -> Result<Self> {
        let pair = Pair::new()?;
        let (left, right) = (&pair.left, &pair.right);
        // So that each packet is lost for itself, not as one of forty in one.
        let single = format!("-n {left} link set dev va gso_max_segs 1");
        call("ip", &single.split(' ').collect::<Vec<_>>())?;
        // Where they arrive: of what is dropped on its way out TCP learns at once.
        call("tc", &["-n", right, "qdisc", "add", "dev", "vb", "clsact"])?;
        let filter = format!("-n {right} filter add dev vb ingress bpf direct-action bytecode");
        let filter: Vec<&str> = filter.split(' ').chain([LOSS]).collect();
        call("tc", &filter)?;
        // What is lost twice waits for a timer, which else is 200 ms.
        let route = format!("-n {left} route replace 10.77.0.0/24 dev va rto_min 10ms");
        call("ip", &route.split(' ').collect::<Vec<_>>())?;
        let shaper =
            format!("-n {left} qdisc add dev va root tbf rate {SPEED} burst 64k limit 500k");
        call("tc", &shaper.split(' ').collect::<Vec<_>>())?;
        let mut receiver = Agent::start(RECEIVER, Some(right))?;
        let [port] = receiver.ask(&format!("serve {CONNECTIONS}"))?;
        Ok(Self {
            sender: Agent::start(SENDER, Some(left))?,
            _receiver: receiver,
            to: format!("10.77.0.2:{port}"),
            _pair: pair,
        })
    }
}

impl Work for Bulk {
    fn unit(&self) -> &'static str {
        "MB/s"
    }

    fn run(&mut self, quick: bool) -> Result<Outcome> {
        let [before] = self.sender.ask("mib RetransSegs")?;
        let command = format!("send {} {CONNECTIONS} {}", self.to, milliseconds(quick));
        let [bytes, nanoseconds] = self.sender.ask(&command)?;
        let [after] = self.sender.ask("mib RetransSegs")?;
        Ok(Outcome {
            rate: bytes as f64 * 1e3 / nanoseconds as f64,
            facts: Figures::from([("segments", (after - before) as f64)]),
            ..Outcome::default()
        })
    }
}

fn call(name: &str, arguments: &[&str]) -> Result<()> {
    let output = program(name, "iproute2")?
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} {arguments:?}: {said}");
    Ok(())
}
