//! The name of a service by its systemd unit, where it is the same at each start.

use crate::stable::{is_hash, is_uuid};

/// The name by a unit with its suffix; `None` for units that are made anew for each login,
/// start or connection and aren't called after what they run.
///
/// | unit | name |
/// |---|---|
/// | `nginx.service` | `nginx` |
/// | `postgresql@16-main.service` | `postgresql@16-main` |
/// | `sshd@3-10.0.0.1:22-10.0.0.2:40000.service` | `sshd` |
/// | `session-3.scope`, `init.scope`, `run-u17.service` | none |
/// | `app-gnome-org.mozilla.firefox-1234.scope` | `org.mozilla.firefox` |
/// | `dbus-:1.2-org.example.Shop@0.service` | `org.example.Shop` |
/// | `snap.shop.web-<uuid>.scope` | `snap.shop.web` |
pub fn service_name(unit: &str) -> Option<String> {
    let (name, kind) = unit.rsplit_once('.')?;
    if is_made_anew(name, kind) {
        return None;
    }
    let (prefix, instance) = match name.split_once('@') {
        Some((prefix, instance)) => (prefix, Some(instance)),
        None => (name, None),
    };
    let found = if let Some(app) = prefix.strip_prefix("app-") {
        application(app, kind)
    } else if let Some(rest) = prefix.strip_prefix("dbus-:") {
        // `dbus-:1.2-NAME@N`, by dbus-broker: which connection asked for it.
        rest.split_once('-')?.1.to_owned()
    } else if instance.is_some_and(is_of_connection) {
        prefix.to_owned()
    } else {
        without_random(name).to_owned()
    };
    crate::text::name(&unescape(&found))
}

/// Units of logins, of the manager itself, and of commands that were given no name
/// (`systemd-run`: `run-u17`, `run-r<hash>`, `run-p<pid>-i<invocation>`, `run-<pid>`).
fn is_made_anew(name: &str, kind: &str) -> bool {
    let session = name
        .strip_prefix("session-")
        .is_some_and(|rest| kind == "scope" && !rest.is_empty());
    let run = name.strip_prefix("run-").is_some_and(|rest| {
        let rest = rest.strip_prefix(['u', 'r', 'p']).unwrap_or(rest);
        rest.split(['-', 'i'])
            .all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
            && rest.bytes().any(|b| b.is_ascii_digit())
    });
    // A terminal's tab, by VTE: a login in another form.
    let tab = name.starts_with("vte-spawn-");
    session || run || tab || name == "init" && kind == "scope" || without_random(name).is_empty()
}

/// systemd's conventions for desktop applications: `app[-launcher]-ID[@random].service`,
/// `app[-launcher]-ID-random.scope`. Dashes of the id itself are escaped.
fn application(rest: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = rest.split('-').collect();
    if kind == "scope" && parts.len() > 1 {
        parts.pop();
    }
    // What stands before the id is who started it.
    parts.last().copied().unwrap_or(rest).to_owned()
}

/// An instance that systemd numbered because a socket was connected to: `3-127.0.0.1:22-…`
/// for TCP, `3-<pid>-<uid>` for Unix sockets, with a cookie before or behind in newer ones.
fn is_of_connection(instance: &str) -> bool {
    let mut parts = instance.split('-');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()))
    };
    if !is_number(parts.next()) {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    let addresses = rest.iter().filter(|part| part.contains(':')).count() >= 2;
    let numbers = rest.len() >= 2 && rest.iter().all(|part| is_number(Some(part)));
    addresses || numbers
}

/// A name without a UUID or a hash at its end.
fn without_random(name: &str) -> &str {
    let at = name.len().saturating_sub(36);
    if let (Some(before), Some(last)) = (name.get(..at), name.get(at..))
        && is_uuid(last)
    {
        return before.trim_end_matches(['-', '.']);
    }
    match name.rsplit_once('-') {
        Some((before, last)) if is_hash(last) => before,
        _ => name,
    }
}

/// systemd's escapes in names of units: `\x2d` is a dash.
pub(crate) fn unescape(name: &str) -> String {
    crate::text::unescaped::<2>(name, "\\x", 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which units name a service, and that none does whose name is another one at
    /// each login, start or connection.
    #[test]
    fn units_name_services() {
        let table = [
            ("nginx.service", Some("nginx")),
            ("php8.2-fpm.service", Some("php8.2-fpm")),
            ("user@1000.service", Some("user@1000")),
            ("getty@tty1.service", Some("getty@tty1")),
            ("postgresql@16-main.service", Some("postgresql@16-main")),
            ("sshd@3-10.0.0.1:22-10.0.0.2:40000.service", Some("sshd")),
            ("sshd@1-7-::1:22-::1:50000.service", Some("sshd")),
            ("sshd@::1.service", Some("sshd@::1")),
            (
                "systemd-coredump@4-1234-0.service",
                Some("systemd-coredump"),
            ),
            ("backup@db-1.service", Some("backup@db-1")),
            (
                "systemd-fsck@dev-disk-by\\x2duuid-1.service",
                Some("systemd-fsck@dev-disk-by-uuid-1"),
            ),
            ("run-docker.service", Some("run-docker")),
            ("runner.service", Some("runner")),
            ("session.service", Some("session")),
            ("session-manager.service", Some("session-manager")),
            ("app-foo.service", Some("foo")),
            ("app-foo@autostart.service", Some("foo")),
            (
                "app-gnome-org.mozilla.firefox-1234.scope",
                Some("org.mozilla.firefox"),
            ),
            (
                "app-flatpak-org.mozilla.firefox-99.scope",
                Some("org.mozilla.firefox"),
            ),
            ("app-gnome-my\\x2dshop-1234.scope", Some("my-shop")),
            ("app-gnome-foo@0123abcd.service", Some("foo")),
            (
                "dbus-:1.2-org.example.Shop@0.service",
                Some("org.example.Shop"),
            ),
            ("snap.lxd.daemon.service", Some("snap.lxd.daemon")),
            (
                "snap.shop.web-a3d1bf5e-4c2f-4f0b-9c2e-0c6b1e6f2d11.scope",
                Some("snap.shop.web"),
            ),
            ("vte-spawn-a3d1bf5e-4c2f-4f0b-9c2e-0c6b1e6f2d11.scope", None),
            ("session-3.scope", None),
            ("session-c12.scope", None),
            ("init.scope", None),
            ("run-u17.service", None),
            ("run-1234.scope", None),
            ("run-r0123456789abcdef0123456789abcdef.scope", None),
            ("run-p1234-i5678.service", None),
            ("a3d1bf5e-4c2f-4f0b-9c2e-0c6b1e6f2d11.scope", None),
            ("nosuffix", None),
            (".service", None),
        ];
        for (unit, name) in table {
            assert_eq!(service_name(unit).as_deref(), name, "{unit}");
        }
    }

    /// Checks escapes, whole and broken.
    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape(r"a\x2db"), "a-b");
        assert_eq!(unescape(r"a\x2"), r"a\x2");
        assert_eq!(unescape(r"a\xzz\"), r"a\xzz\");
        assert_eq!(unescape(r"\xff"), "\u{fffd}");
    }
}
