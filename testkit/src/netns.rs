//! Two network namespaces with a cable between them.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use crate::packages;

/// Two namespaces joined by a veth pair; gone when dropped, also by a panic.
pub struct Pair {
    /// Name of the left one, as `ip netns` knows it; it has 10.77.0.1 and fd77::1.
    pub left: String,
    /// Name of the right one; it has 10.77.0.2 and fd77::2.
    pub right: String,
}

/// Several tests make pairs at the same time.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Pair {
    /// Makes both.
    pub fn new() -> Result<Self> {
        let id = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let pair = Self {
            left: format!("obs-l-{id}"),
            right: format!("obs-r-{id}"),
        };
        let (left, right) = (&pair.left, &pair.right);
        ip(&format!("netns add {left}"))?;
        ip(&format!("netns add {right}"))?;
        ip(&format!(
            "link add va netns {left} address 02:00:00:00:77:01 type veth \
             peer name vb netns {right} address 02:00:00:00:77:02"
        ))?;
        for (namespace, device, host) in [(left, "va", 1), (right, "vb", 2)] {
            ip(&format!(
                "-n {namespace} addr add 10.77.0.{host}/24 dev {device}"
            ))?;
            ip(&format!(
                "-n {namespace} addr add fd77::{host}/64 dev {device} nodad"
            ))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            ip(&format!("-n {namespace} link set {device} up"))?;
        }
        Ok(pair)
    }

    /// Makes the way from left to right narrow, with a queue so short that
    /// packets are lost.
    pub fn lossy(&self) -> Result<()> {
        self.narrow("rate 20mbit burst 3k limit 6k")
    }

    /// Makes the way from left to right so slow that each packet takes
    /// milliseconds; none is lost.
    pub fn slow(&self) -> Result<()> {
        self.narrow("rate 64kbit burst 1600 limit 1m")
    }

    /// From now on packets from left to right go to nobody.
    pub fn mute(&self) -> Result<()> {
        ip(&format!(
            "-n {} neigh replace 10.77.0.2 lladdr 02:00:00:00:77:ff dev va",
            self.left
        ))
    }

    /// Tells both sides where the other is: while they ask, only a few packets may wait.
    pub fn acquaint(&self) -> Result<()> {
        for (namespace, device, other) in [(&self.left, "va", 2), (&self.right, "vb", 1)] {
            for network in ["10.77.0.", "fd77::"] {
                ip(&format!(
                    "-n {namespace} neigh replace {network}{other} lladdr 02:00:00:00:77:0{other} dev {device}"
                ))?;
            }
        }
        Ok(())
    }

    /// Has the right side's packet filter drop UDP datagrams to a port.
    pub fn refuse(&self, port: u16) -> Result<()> {
        let filter = packages::program("iptables", "iptables")?;
        let output = packages::program("ip", "iproute2")?
            .args(["netns", "exec", &self.right])
            .arg(filter.get_program())
            .args(["-A", "INPUT", "-p", "udp", "-j", "DROP", "--dport"])
            .arg(port.to_string())
            .output()
            .context("cannot run ip")?;
        ensure!(
            output.status.success(),
            "iptables: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn narrow(&self, how: &str) -> Result<()> {
        let namespace = &self.left;
        run(
            "tc",
            &format!("-n {namespace} qdisc add dev va root tbf {how}"),
        )
    }

    /// Gives both sides a neighbour 10.77.0.9 that doesn't answer: packets to
    /// it arrive at the other side, which drops them.
    pub fn black_hole(&self) -> Result<()> {
        for (namespace, device, other) in [(&self.left, "va", 2), (&self.right, "vb", 1)] {
            ip(&format!(
                "-n {namespace} neigh add 10.77.0.9 lladdr 02:00:00:00:77:0{other} dev {device}"
            ))?;
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // The cable goes with them.
        let _ = ip(&format!("netns del {}", self.left));
        let _ = ip(&format!("netns del {}", self.right));
    }
}

fn ip(arguments: &str) -> Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &str) -> Result<()> {
    let output = packages::program(program, "iproute2")?
        .args(arguments.split_whitespace())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
