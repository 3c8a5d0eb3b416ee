//! The parts of an HTTP request's target (RFC 9112, 3.2).

/// A target, taken apart. Nothing in it is decoded or checked: it comes from
/// the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// Of the absolute form (`http://host/path`): the scheme.
    pub scheme: Option<&'a str>,
    /// Of the absolute form, and what there is of the authority form
    /// (`host:443`): the user's name and password, without the `@`.
    pub user: Option<&'a str>,
    /// Of these forms: host and port.
    pub authority: Option<&'a str>,
    /// Begins with `/`, or is `*`, or empty.
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Takes a target apart. What follows a `#` isn't sent by anyone who keeps
    /// to the standard, and is left out.
    pub fn split(target: &'a str) -> Self {
        let target = target.split('#').next().unwrap_or_default();
        let (before, query) = match target.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (target, None),
        };
        if before.starts_with('/') || before == "*" || before.is_empty() {
            return Self {
                path: before,
                query,
                ..Self::default()
            };
        }
        let (scheme, rest) = match before.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, before),
        };
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        Self {
            scheme,
            user,
            authority: Some(authority),
            path,
            query,
        }
    }
}

/// Host and port of an authority or a `Host` field: `example.com:8080`,
/// `[::1]:80`. `None` if it isn't one. A user's name before an `@` is left out.
pub fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        (address, after.strip_prefix(':'))
    } else {
        match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        }
    };
    let usual = |b: u8| b.is_ascii_alphanumeric() || b"-._:%".contains(&b);
    if name.is_empty() || name.len() > 255 || !name.bytes().all(usual) {
        return None;
    }
    match port {
        None | Some("") => Some((name, None)),
        Some(port) => Some((name, Some(port.parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks all four forms of RFC 9112, 3.2, and what isn't one.
    #[test]
    fn forms() {
        let split = |target| {
            let t = Target::split(target);
            (t.scheme, t.user, t.authority, t.path, t.query)
        };
        let table = [
            ("/", (None, None, None, "/", None)),
            ("/a/b?c=d?e", (None, None, None, "/a/b", Some("c=d?e"))),
            ("/a#f?x", (None, None, None, "/a", None)),
            ("*", (None, None, None, "*", None)),
            ("", (None, None, None, "", None)),
            ("?q", (None, None, None, "", Some("q"))),
            (
                "http://u:p@h:1/a?q",
                (Some("http"), Some("u:p"), Some("h:1"), "/a", Some("q")),
            ),
            ("http://h", (Some("http"), None, Some("h"), "", None)),
            ("h:443", (None, None, Some("h:443"), "", None)),
            ("//u@h/a", (None, None, None, "//u@h/a", None)),
            (
                "http://a@b@h/x@y",
                (Some("http"), Some("a@b"), Some("h"), "/x@y", None),
            ),
        ];
        for (target, expected) in table {
            assert_eq!(split(target), expected, "{target}");
        }
    }

    /// Checks names, addresses and ports, and that odd ones are none.
    #[test]
    fn hosts() {
        let table = [
            ("example.com", Some(("example.com", None))),
            ("example.com:8080", Some(("example.com", Some(8080)))),
            ("[::1]:80", Some(("::1", Some(80)))),
            ("[::1]", Some(("::1", None))),
            ("10.0.0.1:", Some(("10.0.0.1", None))),
            ("user:pw@h:1", Some(("h", Some(1)))),
            ("", None),
            (":80", None),
            ("h:99999", None),
            ("[::1", None),
            ("a b", None),
            ("h\u{e9}", None),
        ];
        for (authority, expected) in table {
            assert_eq!(host_and_port(authority), expected, "{authority}");
        }
    }
}
