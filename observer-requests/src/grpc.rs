//! gRPC on HTTP/2 ("gRPC over HTTP2", in grpc's own documentation
//! `PROTOCOL-HTTP2.md`): what its headers mean.

use std::sync::Arc;

/// Whether a content type is gRPC's: `application/grpc` with an optional `+` and
/// format. (gRPC-Web is another protocol: its status is in the body.)
pub fn is_grpc(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    match content_type.split_at_checked(TYPE.len()) {
        Some((kind, more)) => {
            kind.eq_ignore_ascii_case(TYPE)
                && matches!(more.first(), None | Some(b'+' | b';' | b' '))
        }
        None => false,
    }
}

/// The value of `grpc-status`.
pub fn status(value: &[u8]) -> Option<u32> {
    let digits = value.trim_ascii();
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |status, digit| {
        digit
            .is_ascii_digit()
            .then(|| status * 10 + u32::from(digit - b'0'))
    })
}

/// Service and method of a path, `/package.Service/Method`. A path has no query, but
/// some clients send one; it isn't kept.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.split(['?', '#', ';']).next().unwrap_or_default();
    let (service, method) = path.strip_prefix('/')?.rsplit_once('/')?;
    (!service.is_empty() && !method.is_empty()).then_some((service, method))
}

/// Service and method of the paths that a connection asked for lately, so that
/// the same path gives the same strings.
#[derive(Debug, Default)]
pub struct Names {
    /// The latest last.
    known: Vec<Called>,
}

/// A path that was asked for.
#[derive(Debug)]
struct Called {
    path: Arc<str>,
    service: Arc<str>,
    method: Arc<str>,
}

impl Names {
    /// Paths that are remembered.
    const KNOWN: usize = 16;
    /// Longest path that is remembered.
    const LONGEST: usize = 256;

    /// Service and method of `path`; empty if it isn't one of a method.
    pub fn of(&mut self, path: &Arc<str>) -> (Arc<str>, Arc<str>) {
        let same = |called: &Called| Arc::ptr_eq(&called.path, path) || called.path == *path;
        if let Some(called) = self.known.iter().rev().find(|called| same(called)) {
            return (called.service.clone(), called.method.clone());
        }
        let (service, method) = split(path).unwrap_or_default();
        let (service, method): (Arc<str>, Arc<str>) = (service.into(), method.into());
        if path.len() > Self::LONGEST {
            return (service, method);
        }
        if self.known.len() >= Self::KNOWN {
            self.known.remove(0);
        }
        self.known.push(Called {
            path: path.clone(),
            service: service.clone(),
            method: method.clone(),
        });
        (service, method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which content types are gRPC's.
    #[test]
    fn content_types() {
        for grpc in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC; x=y",
        ] {
            assert!(is_grpc(grpc.as_bytes()), "{grpc}");
        }
        for other in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/json",
            "application/grp",
            "",
        ] {
            assert!(!is_grpc(other.as_bytes()), "{other}");
        }
    }

    /// Checks statuses.
    #[test]
    fn statuses() {
        assert_eq!(status(b"0"), Some(0));
        assert_eq!(status(b" 14"), Some(14));
        assert_eq!(status(b""), None);
        assert_eq!(status(b"-1"), None);
        assert_eq!(status(b"4294967296"), None);
    }

    /// Checks that paths are split at the method, and that what was split
    /// before gives the same strings.
    #[test]
    fn paths() {
        let mut names = Names::default();
        let path: Arc<str> = "/grpc.health.v1.Health/Check".into();
        let (service, method) = names.of(&path);
        assert_eq!((&*service, &*method), ("grpc.health.v1.Health", "Check"));
        let again = names.of(&Arc::from("/grpc.health.v1.Health/Check"));
        assert!(Arc::ptr_eq(&service, &again.0) && Arc::ptr_eq(&method, &again.1));
        for i in 0..100 {
            let (service, method) = names.of(&Arc::from(format!("/a/b.S/{i}")));
            assert_eq!((&*service, &*method), ("a/b.S", i.to_string().as_str()));
        }
        assert_eq!(names.known.len(), Names::KNOWN);
        for query in ["?token=x", "#x", ";token=x/y", "?a=/b/c"] {
            let path = format!("/shop.Orders/Get{query}");
            assert_eq!(split(&path), Some(("shop.Orders", "Get")), "{path}");
        }
        for wrong in ["", "/", "/a", "a/b", "//b", "/a/", "/a?/b"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
