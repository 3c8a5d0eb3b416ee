//! Containers and virtual machines whose cgroups carry their names instead of an id.

use crate::stable::is_uuid;
use crate::unit::unescape;

/// The name of a container in a path segment, `before` being what stands before it.
///
/// - `machine-web.scope`: systemd-machined's (systemd-nspawn);
///   `machine-qemu\x2d2\x2dweb.scope`: libvirt's, of which the number is the start's
/// - `payload` below `systemd-nspawn@web.service`
/// - `lxc.payload.web`, and `lxc/web` of LXC before 4.0 (LXD and Incus likewise)
/// - `<allocation>.web.scope`, without `.scope` where Nomad makes it itself
pub(crate) fn name(before: &[&str], segment: &str) -> Option<String> {
    let parent = before.last().copied().unwrap_or_default();
    if let Some(machine) = segment
        .strip_prefix("machine-")
        .and_then(|rest| rest.strip_suffix(".scope"))
    {
        return some(without_start(&unescape(machine)));
    }
    if segment == "payload" {
        let machine = parent.strip_prefix("systemd-nspawn@")?;
        return some(&unescape(machine.strip_suffix(".service")?));
    }
    if let Some(container) = segment.strip_prefix("lxc.payload.") {
        return some(container);
    }
    if parent == "lxc" && before.len() == 1 {
        return some(segment);
    }
    let task = segment.strip_suffix(".scope").unwrap_or(segment);
    let (allocation, task) = task.split_once('.')?;
    some(Some(task).filter(|_| is_uuid(allocation))?)
}

fn some(name: &str) -> Option<String> {
    crate::text::name(name)
}

/// `qemu-2-web` → `web`
fn without_start(machine: &str) -> &str {
    let numbered = ["qemu-", "lxc-", "ch-", "xen-"]
        .iter()
        .find_map(|driver| machine.strip_prefix(driver))
        .and_then(|rest| rest.split_once('-'));
    match numbered {
        Some((number, name))
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            name
        }
        _ => machine,
    }
}
