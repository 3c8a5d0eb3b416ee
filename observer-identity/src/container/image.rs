//! References of images: `docker.io/library/nginx:1.25@sha256:…`.

use crate::text;

/// So many tags are kept.
const TAGS: usize = 16;

/// What an image is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Image {
    /// With the registry, without tag and digest.
    pub name: Option<String>,
    /// Without the name.
    pub tags: Vec<String>,
}

impl Image {
    /// By a reference, as `reference` of the distribution project defines it; nothing by an
    /// id or a digest alone.
    pub fn of_reference(reference: &str) -> Self {
        let reference = reference
            .split_once('@')
            .map_or(reference, |(name, _)| name);
        let (name, tag) = match reference.rsplit_once(':') {
            // A registry's port.
            Some((_, tag)) if tag.contains('/') => (reference, None),
            Some((name, tag)) => (name, Some(tag)),
            None => (reference, None),
        };
        if name == "sha256" || is_id(name) {
            return Self::default();
        }
        Self {
            tags: tag.and_then(text::name).into_iter().collect(),
            name: text::name(name),
        }
    }

    /// By all references of one image: the name of the first, and its tags.
    pub fn of_references<'a>(references: impl IntoIterator<Item = &'a str>) -> Self {
        let mut found = Self::default();
        for image in references.into_iter().map(Self::of_reference) {
            if found.name.is_none() {
                found.name = image.name;
                found.tags = image.tags;
            } else if found.name == image.name && found.tags.len() < TAGS {
                found.tags.extend(image.tags);
            }
        }
        found.tags.sort();
        found.tags.dedup();
        found
    }

    /// What is known from either, as a whole; `self` is believed first.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.name.is_some() { self } else { other }
    }
}

/// Whether it is the digest of an image in place of its name.
fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks names and tags of references, with ports, digests and neither.
    #[test]
    fn references_are_taken_apart() {
        let digest = "f".repeat(64);
        let table = [
            ("nginx", Some("nginx"), vec![]),
            ("nginx:1.25", Some("nginx"), vec!["1.25"]),
            (
                "docker.io/library/nginx:1.25",
                Some("docker.io/library/nginx"),
                vec!["1.25"],
            ),
            ("localhost:5000/shop", Some("localhost:5000/shop"), vec![]),
            (
                "localhost:5000/shop:v2",
                Some("localhost:5000/shop"),
                vec!["v2"],
            ),
            (
                &format!("shop:v2@sha256:{digest}"),
                Some("shop"),
                vec!["v2"],
            ),
            (&format!("shop@sha256:{digest}"), Some("shop"), vec![]),
            (&format!("sha256:{digest}"), None, vec![]),
            (&digest, None, vec![]),
            ("", None, vec![]),
        ];
        for (reference, name, tags) in table {
            let image = Image::of_reference(reference);
            assert_eq!(image.name.as_deref(), name, "{reference}");
            assert_eq!(image.tags, tags, "{reference}");
        }
    }

    /// Checks that an image of several tags has them all, but no other image's.
    #[test]
    fn tags_are_gathered() {
        let image = Image::of_references(["r/shop:v2", "r/shop:latest", "r/other:v1"]);
        assert_eq!(image.name.as_deref(), Some("r/shop"));
        assert_eq!(image.tags, ["latest", "v2"]);
        let many: Vec<String> = (0..1000).map(|n| format!("shop:{n}")).collect();
        let image = Image::of_references(many.iter().map(String::as_str));
        assert_eq!(image.tags.len(), TAGS);
    }
}
