//! What in a name stays the same from start to start, and what doesn't: versions,
//! hashes, temporary folders, random endings.

/// Fewest digits in a row that are a date or the number of a build: `20240101`.
const BUILD_DIGITS: usize = 6;

/// Fewest hex digits that are a hash: git's abbreviation.
const HASH_DIGITS: usize = 7;

/// A name without the version behind it, and that version if it has dots:
/// `app-1.2.3-SNAPSHOT` → `app`, `1.2.3-SNAPSHOT`. A name that is only a version stays.
pub fn split_version(name: &str) -> (&str, Option<&str>) {
    for (at, char) in name.char_indices().skip(1) {
        if !matches!(char, '-' | '_' | '@') {
            continue;
        }
        let (Some(before), Some(behind)) = (name.get(..at), name.get(at + 1..)) else {
            continue;
        };
        if is_version(behind) {
            let version = behind.strip_prefix(['v', 'V']).unwrap_or(behind);
            return (before, is_dotted(version).then_some(version));
        }
    }
    (name, None)
}

/// A name without the version behind it.
pub fn versionless(name: &str) -> &str {
    split_version(name).0
}

/// Whether this is a version or another mark of one build, with whatever follows it.
fn is_version(text: &str) -> bool {
    let number = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let token = text.split(['-', '_', '.', '+']).next().unwrap_or(text);
    is_dotted(number)
        || is_number(token, BUILD_DIGITS)
        || is_hash(token)
        || is_uuid(text)
        || matches!(text, "SNAPSHOT" | "RELEASE" | "FINAL" | "LATEST" | "latest")
}

/// Whether it begins with numbers with dots between: `1.2`, `1.2.3-rc1`.
fn is_dotted(text: &str) -> bool {
    let Some((first, rest)) = text.split_once('.') else {
        return false;
    };
    is_number(first, 1) && rest.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether it is a decimal number of so many digits or more.
fn is_number(text: &str, digits: usize) -> bool {
    text.len() >= digits && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether it is a hash in lower-case hex: digits and letters, and not few.
pub fn is_hash(text: &str) -> bool {
    text.len() >= HASH_DIGITS
        && text.bytes().all(is_lower_hex)
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_lowercase())
}

/// Whether it is a UUID as RFC 9562 writes it, in lower case.
pub fn is_uuid(text: &str) -> bool {
    let lengths = text
        .split('-')
        .map(|part| part.bytes().all(is_lower_hex).then_some(part.len()));
    text.len() == 36 && lengths.eq([8, 4, 4, 4, 12].map(Some))
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Whether a folder is made for one version or one start: its name isn't anybody's.
pub fn is_passing(folder: &str) -> bool {
    let number = folder.strip_prefix(['v', 'V']).unwrap_or(folder);
    is_number(number, 1)
        || is_version(folder)
        || starts_with_random(folder, "_MEI", 4)
        || starts_with_random(folder, "tmp.", 6)
        || starts_with_random(folder, "tmp-", 6)
        || starts_with_random(folder, "tmp", 8)
        || starts_with_random(folder, "go-build", 4)
        || folder.starts_with(".mount_")
        || folder.starts_with("systemd-private-")
}

/// Whether what follows `prefix` is one word of `length` letters and digits or more.
fn starts_with_random(text: &str, prefix: &str, length: usize) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() >= length && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// Whether a path begins in a folder for temporary files.
pub fn is_in_temporary(path: &str) -> bool {
    ["/tmp/", "/var/tmp/", "/dev/shm/", "/run/user/"]
        .iter()
        .any(|folder| path.starts_with(folder))
}

/// The name of what a pod belongs to, by the pod's own: of a Deployment
/// (`shop-7d9f8c6b5-abcde`), a StatefulSet (`db-0`), a DaemonSet or Job (`agent-x7k2p`).
/// A name that fits none is the owner's.
pub fn pod_owner(pod: &str) -> &str {
    let Some((owner, last)) = pod.rsplit_once('-') else {
        return pod;
    };
    if !last.is_empty() && last.len() <= 3 && is_number(last, 1) {
        return owner;
    }
    let is_short = last.len() == 5 && last.bytes().all(|b| b.is_ascii_alphanumeric());
    match owner.rsplit_once('-') {
        Some((deployment, hash))
            if is_short
                && (8..=10).contains(&hash.len())
                && hash.bytes().any(|b| b.is_ascii_digit())
                && is_kubernetes_random(hash) =>
        {
            deployment
        }
        _ if is_short && is_kubernetes_random(last) => owner,
        _ => pod,
    }
}

/// Whether all is of the letters that Kubernetes makes names unique with: no vowels, and
/// no digits that look like them (k8s.io/apimachinery/pkg/util/rand).
fn is_kubernetes_random(text: &str) -> bool {
    text.bytes()
        .all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b))
}

/// `/nix/store/HASH-NAME`, one folder: the name without its 32 characters of base 32.
pub fn without_store_hash(folder: &str) -> &str {
    match folder.split_once('-') {
        Some((hash, name))
            if hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            name
        }
        _ => folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which endings of names are versions.
    #[test]
    fn versions_are_cut_off() {
        let table = [
            ("app-1.2.3-SNAPSHOT", "app", Some("1.2.3-SNAPSHOT")),
            ("app-1.2.3", "app", Some("1.2.3")),
            ("app-v2.0", "app", Some("2.0")),
            ("app_2.13-3.4.1", "app", Some("2.13-3.4.1")),
            ("shop-api-1.0.0-runner", "shop-api", Some("1.0.0-runner")),
            ("shop-20240101120000", "shop", None),
            ("shop-a1b2c3d", "shop", None),
            ("shop-SNAPSHOT", "shop", None),
            ("shop-a3d1bf5e-4c2f-4f0b-9c2e-0c6b1e6f2d11", "shop", None),
            ("shop", "shop", None),
            ("shop-api", "shop-api", None),
            ("sha-256", "sha-256", None),
            ("base-64-tool", "base-64-tool", None),
            ("web-facade", "web-facade", None),
            ("1.2.3", "1.2.3", None),
            ("-1.2", "-1.2", None),
            ("é-1.2", "é", Some("1.2")),
        ];
        for (name, rest, version) in table {
            assert_eq!(split_version(name), (rest, version), "{name}");
        }
    }

    /// Checks which folders are of one start or one release.
    #[test]
    fn passing_folders_are_told() {
        for folder in [
            "tmp.Xa81kLq0Zz",
            "tmpab12cd34",
            "_MEI4fTk2a",
            "20240101120000",
            "1.2.3",
            "v18",
            "a1b2c3d4e5",
            "go-build1234567",
            ".mount_firefoAbC123",
        ] {
            assert!(is_passing(folder), "{folder}");
        }
        for folder in [
            "shop", "tmp", "tmpfiles", "deadbeef", "api-v2x", "mei", "web",
        ] {
            assert!(!is_passing(folder), "{folder}");
        }
    }

    /// Checks that a pod's name leads to the name of what made it.
    #[test]
    fn pods_have_owners() {
        let table = [
            ("shop-7d9f8c6b5-x7k2p", "shop"),
            ("shop-api-5c4d8b9fb6-zzwqx", "shop-api"),
            ("shop-7d9f8c6b5-abcde", "shop"),
            ("db-0", "db"),
            ("db-12", "db"),
            ("agent-x7k2p", "agent"),
            ("shop", "shop"),
            ("shop-abcde", "shop-abcde"),
            ("web-front", "web-front"),
        ];
        for (pod, owner) in table {
            assert_eq!(pod_owner(pod), owner, "{pod}");
        }
    }

    /// Checks that a store's hash is no part of a name.
    #[test]
    fn nix_hashes_are_cut_off() {
        let hash = "0c9zwq7h3c5p1v8k0m9d4x2b6n7r8s1a";
        assert_eq!(without_store_hash(&format!("{hash}-shop-1.2")), "shop-1.2");
        assert_eq!(without_store_hash("shop-1.2"), "shop-1.2");
    }
}
