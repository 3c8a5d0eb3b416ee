//! The machine that everything happens on, and the daemon itself.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::foreign::{self, Foreign, Subject};
use observer_identity::environment::Declared;
use observer_signals::attribute::SharedResource;
use observer_signals::{Attribute, Resource};

/// The first process, whose root directory is the host's.
const HOST: u32 = 1;

/// How long its files are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What all resources have in common, and the daemon's own resource.
#[derive(Clone, Debug)]
pub struct Host {
    /// `host.*`, `os.*` and what `OTEL_RESOURCE_ATTRIBUTES` adds, except
    /// `service.*`, which would describe the daemon and not its neighbours.
    pub attributes: Vec<Attribute>,
    /// The same with `service.*`: whom the daemon's own telemetry is about.
    pub daemon: SharedResource,
}

impl Host {
    /// Detects the host and merges the daemon's own OpenTelemetry environment.
    pub fn detect() -> Self {
        // The host's files may be on a file system that doesn't answer.
        let files = foreign::ask(Subject::Process(HOST), PATIENCE, Files::read);
        let files = files.unwrap_or_default();
        Self::new(detect_attributes(&files), &Declared::own())
    }

    fn new(detected: Vec<Attribute>, declared: &Declared) -> Self {
        let (service, host): (Vec<_>, Vec<_>) = declared
            .attributes
            .iter()
            .partition(|(key, _)| key.starts_with("service."));
        let mut attributes = detected;
        for (key, value) in host {
            set(&mut attributes, key, value.clone());
        }
        let mut daemon = attributes.clone();
        let name = declared.service_name.as_deref().unwrap_or("observer");
        set(&mut daemon, "service.name", name.to_owned());
        set(
            &mut daemon,
            "service.version",
            env!("CARGO_PKG_VERSION").to_owned(),
        );
        set(&mut daemon, "service.instance.id", random_uuid());
        for (key, value) in service {
            set(&mut daemon, key, value.clone());
        }
        Self {
            attributes,
            daemon: Arc::new(Resource { attributes: daemon }),
        }
    }
}

/// What the user declared wins over what was detected.
fn set(attributes: &mut Vec<Attribute>, key: &str, value: String) {
    match attributes.iter_mut().find(|a| a.key == key) {
        Some(existing) => existing.value = value.into(),
        None => attributes.push(Attribute::new(key.to_owned(), value)),
    }
}

/// What files say about the host.
#[derive(Default)]
struct Files {
    id: Option<String>,
    release: String,
}

impl Files {
    fn read(foreign: &Foreign) -> Self {
        let read = |paths: &[&str]| of_host(foreign, paths);
        Self {
            id: read(&["/etc/machine-id", "/var/lib/dbus/machine-id"]),
            release: read(&["/etc/os-release", "/usr/lib/os-release"]).unwrap_or_default(),
        }
    }
}

/// The first of these files that is there: the host's, which the daemon sees through the
/// first process also from within a container, else its own.
fn of_host(_: &Foreign, paths: &[&str]) -> Option<String> {
    let mut all = ["/proc/1/root", ""]
        .iter()
        .flat_map(|root| paths.iter().map(move |path| format!("{root}{path}")));
    all.find_map(|path| fs::read_to_string(path).ok())
}

fn detect_attributes(files: &Files) -> Vec<Attribute> {
    let mut found = vec![Attribute::new("os.type", "linux")];
    let mut add = |key: &'static str, value: Option<String>| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            found.push(Attribute::new(key, value));
        }
    };
    let id = files.id.as_deref().map(|id| id.trim().to_owned());
    // systemd's placeholder on a host that was never booted.
    add("host.id", id.filter(|id| id != "uninitialized"));
    if let Ok(uname) = nix::sys::utsname::uname() {
        let text = |s: &std::ffi::OsStr| Some(s.to_string_lossy().into_owned());
        add("host.name", text(uname.nodename()));
        add("host.arch", text(uname.machine()).map(|m| host_arch(&m)));
        // The Collector's resource detection, too, calls the kernel a build.
        add("os.build_id", text(uname.release()));
    }
    add("os.name", os_release(&files.release, "NAME"));
    add("os.version", os_release(&files.release, "VERSION_ID"));
    add("os.description", os_release(&files.release, "PRETTY_NAME"));
    found
}

/// The semantic convention's value of `host.arch` for `uname -m`.
fn host_arch(machine: &str) -> String {
    match machine {
        "x86_64" => "amd64",
        "aarch64" | "aarch64_be" => "arm64",
        "i386" | "i486" | "i586" | "i686" => "x86",
        "ppc64le" | "ppc64" => "ppc64",
        m if m.starts_with("arm") => "arm32",
        other => other,
    }
    .to_owned()
}

/// One value of an os-release(5), without its quotes.
fn os_release(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.trim().strip_prefix(key)?.strip_prefix('=')?.trim();
        let inner = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
        Some(
            inner('"')
                .or(inner('\''))
                .unwrap_or(value)
                .replace('\\', ""),
        )
    })
}

/// A random (version 4) UUID: tells two runs of the daemon apart.
fn random_uuid() -> String {
    let mut random = fastrand::u128(..);
    // RFC 9562: version in bits 48..52, variant in bits 64..66, from the top.
    random = random & !(0xf << 76) | (4 << 76);
    random = random & !(0b11 << 62) | (0b10 << 62);
    let group = |from: u32| random >> from & 0xffff;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        random >> 96,
        group(80),
        group(64),
        group(48),
        random & 0xffff_ffff_ffff,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the host is described as the system's own files and `uname` do.
    #[test]
    fn host_is_detected() {
        let host = Host::detect();
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").expect("procfs");
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("procfs");
        assert_eq!(host.daemon.get_str("host.name"), Some(hostname.trim()));
        assert_eq!(host.daemon.get_str("os.build_id"), Some(release.trim()));
        assert_eq!(host.daemon.get_str("os.type"), Some("linux"));
        assert!(
            host.attributes
                .iter()
                .all(|a| !a.key.starts_with("service."))
        );
    }

    /// Checks that the user's attributes win, and that `service.*` among them
    /// describes the daemon only.
    #[test]
    fn declared_attributes_win() {
        let detected = vec![Attribute::new("host.name", "a")];
        let declared = Declared::new(
            None,
            Some("host.name=b,deployment.environment.name=prod,service.namespace=ops"),
        );
        let host = Host::new(detected, &declared);
        assert_eq!(host.attributes.len(), 2);
        assert_eq!(host.daemon.get_str("host.name"), Some("b"));
        assert_eq!(host.daemon.get_str("service.name"), Some("observer"));
        assert_eq!(host.daemon.get_str("service.namespace"), Some("ops"));
        assert_eq!(
            host.daemon.get_str("deployment.environment.name"),
            Some("prod")
        );
    }

    /// Checks the values that the semantic conventions give to architectures.
    #[test]
    fn architectures_have_conventional_names() {
        for (machine, arch) in [
            ("x86_64", "amd64"),
            ("aarch64", "arm64"),
            ("armv7l", "arm32"),
            ("s390x", "s390x"),
        ] {
            assert_eq!(host_arch(machine), arch);
        }
    }

    /// Checks the quoting of os-release.
    #[test]
    fn os_release_is_unquoted() {
        let text = "PRETTY_NAME=\"A B 1\"\nNAME='A'\nVERSION_ID=1\n";
        assert_eq!(os_release(text, "PRETTY_NAME").as_deref(), Some("A B 1"));
        assert_eq!(os_release(text, "NAME").as_deref(), Some("A"));
        assert_eq!(os_release(text, "VERSION_ID").as_deref(), Some("1"));
        assert_eq!(os_release(text, "VERSION"), None);
    }

    /// Checks the form of the instance id.
    #[test]
    fn uuids_are_version_4() {
        for _ in 0..100 {
            let uuid = random_uuid();
            assert_eq!(uuid.len(), 36);
            assert_eq!(&uuid[14..15], "4", "{uuid}");
            assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
        }
    }
}
