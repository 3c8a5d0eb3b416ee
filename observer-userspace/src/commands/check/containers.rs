//! Who says what containers are called.

use observer_containers::inspect::{Refusal, inspect};

use super::report::{Item, Report, Status};
use crate::config::Config;

const GROUP: &str = "containers";

/// Asks each who is there.
pub fn containers(report: &mut Report, config: &Config) {
    let settings = config.containers.clone();
    if !settings.ask {
        let said = "nobody is asked (--containers=false): containers have their id";
        report.add(Item::ok(GROUP, "names", said));
        return;
    }
    let kubelet = settings.kubelet.is_some();
    let Some(found) = inspect(settings) else {
        let item = Item::ok(GROUP, "names", "who is asked for them doesn't answer");
        report.add(item.worse(
            Status::Degraded,
            "names, images and pods of containers",
            "see why runtimes' sockets in /run can't be looked at, or --containers=false",
        ));
        return;
    };
    let mut runtimes = 0;
    for one in found {
        runtimes += usize::from(one.name != "kubelet");
        let item = Item::ok(GROUP, one.name, one.place.clone());
        report.add(match one.says {
            Ok(says) if says.is_empty() => item,
            Ok(says) => Item::ok(GROUP, one.name, format!("{}: {says}", one.place)),
            Err(refusal) => refused(item, one.name, &one.place, &refusal),
        });
    }
    if runtimes == 0 {
        let said = "no runtime's socket is at the usual places: containers have their id (--container-socket names others)";
        report.add(Item::ok(GROUP, "runtimes", said));
    }
    if !kubelet && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        let said = "not asked: nodes, annotations and owners of pods are known as far as labels say them (for all: NODE_IP from status.hostIP, and a service account that may get nodes/pods)";
        report.add(Item::ok(GROUP, "kubelet", said));
    }
}

fn refused(item: Item, name: &str, place: &str, refusal: &Refusal) -> Item {
    let is_kubelet = name == "kubelet";
    let lost = if is_kubelet {
        "nodes, annotations and owners of pods that no label says"
    } else {
        "names, images and pods of its containers"
    };
    let remedy = match (is_kubelet, refusal.is_forbidden) {
        (true, true) => "let the service account get nodes/pods (Kubernetes before 1.33: nodes/proxy)".to_owned(),
        (true, false) => "see whether --kubelet is this node's, and whether its certificate is of --kubelet-certificate".to_owned(),
        (false, true) => format!("run it as root, or as a user who may write to {place}"),
        (false, false) => format!("see whether {name} is well, or name its socket: --container-socket {name}:PATH"),
    };
    let detail = format!("{place}: {}", refusal.reason);
    Item { detail, ..item }.worse(Status::Degraded, lost, remedy)
}
