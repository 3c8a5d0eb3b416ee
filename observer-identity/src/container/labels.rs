//! Labels and annotations: those that say something, of any number.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::text;

/// So many of them are kept.
const KEPT: usize = 64;

/// What is looked for; a `/` at the end stands for all that follows.
const KNOWN: &[&str] = &[
    // What the kubelet writes on containers (pkg/kubelet/types/labels.go).
    "io.kubernetes.container.name",
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.pod.uid",
    // What controllers write on pods.
    "batch.kubernetes.io/job-name",
    "controller-revision-hash",
    "job-name",
    "pod-template-generation",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
    super::DECLARES,
    // What Compose, Swarm and nerdctl write on containers.
    "com.docker.compose.service",
    "com.docker.swarm.service.name",
    "io.podman.compose.service",
    "nerdctl/name",
];

/// The labels of a container or a pod that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// Of a map.
    pub(super) fn of(map: HashMap<String, String>) -> Self {
        let mut labels = Self::default();
        for (key, value) in map {
            labels.add(key, &value);
        }
        labels
    }

    fn add(&mut self, key: String, value: &str) {
        let is_known = KNOWN.iter().any(|known| {
            *known == key || known.ends_with('/') && key.starts_with(known) && key.len() < 256
        });
        if is_known
            && self.0.len() < KEPT
            && self.get(&key).is_none()
            && let Some(value) = text::name(value)
        {
            self.0.push((key, value));
        }
    }

    /// The value of one.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The same as its own.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(str::to_owned)
    }

    /// All that begin so, without that, in order.
    pub(super) fn below(&self, prefix: &str) -> Vec<(String, String)> {
        let below = self.0.iter().filter_map(|(key, value)| {
            let key = text::name(key.strip_prefix(prefix)?)?;
            Some((key, value.clone()))
        });
        let mut below: Vec<_> = below.collect();
        below.sort();
        below
    }

    /// The service of Compose or Swarm.
    pub(super) fn service(&self) -> Option<String> {
        let keys = [
            "com.docker.compose.service",
            "com.docker.swarm.service.name",
            "io.podman.compose.service",
        ];
        keys.iter().find_map(|key| self.text(key))
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_unit<E>(self) -> Result<Labels, E> {
        Ok(Labels::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let mut labels = Labels::default();
        while let Some(key) = map.next_key::<String>()? {
            if let Text(Some(value)) = map.next_value()? {
                labels.add(key, &value);
            }
        }
        Ok(labels)
    }
}

/// A value that should be a text; of anything else nothing is kept.
struct Text(Option<String>);

struct AnyText;

impl<'de> Visitor<'de> for AnyText {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Text, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyText)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Pairs)
    }
}
