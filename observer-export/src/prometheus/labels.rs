//! Labels of a point: whose it is, which scope made it, its attributes.
//!
//! Source: OpenTelemetry, "Prometheus and OpenMetrics Compatibility", "Instrumentation
//! Scope", "Metric Attributes" and "Resource Attributes".

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::names;
use super::targets::Target;
use crate::otlp::SCOPE_NAME;
use observer_signals::{Attribute, Value};

/// Names with values, each name once.
pub(super) type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The labels of a point.
pub(super) fn of_point<'a>(target: &'a Target, attributes: &'a [Attribute]) -> Labels<'a> {
    let mut labels = of_target(target);
    labels.push(("otel_scope_name".into(), SCOPE_NAME.into()));
    labels.push((
        "otel_scope_version".into(),
        env!("CARGO_PKG_VERSION").into(),
    ));
    add(&mut labels, attributes);
    labels
}

/// The labels of `target_info`: whose it is and all else that is known of it, but for what
/// `job` and `instance` say.
pub(super) fn of_info<'a>(target: &'a Target, attributes: &'a [Attribute]) -> Labels<'a> {
    let mut labels = of_target(target);
    let told = ["service.name", "service.namespace", "service.instance.id"];
    let told = attributes
        .iter()
        .filter(|a| target.job.is_none() || !told.contains(&&*a.key));
    add(&mut labels, told);
    labels
}

fn of_target(target: &Target) -> Labels<'_> {
    let job = target.job.as_deref().map(|job| ("job".into(), job.into()));
    let instance = target.instance.as_deref();
    let instance = instance.map(|instance| ("instance".into(), instance.into()));
    job.into_iter().chain(instance).collect()
}

/// Adds attributes. Where several have one name as labels, their values stand behind each
/// other, in the order of their keys.
fn add<'a>(labels: &mut Labels<'a>, attributes: impl IntoIterator<Item = &'a Attribute>) {
    let begin = labels.len();
    let mut doubled: BTreeMap<String, BTreeMap<&str, Cow<'a, str>>> = BTreeMap::new();
    for attribute in attributes {
        let name = names::label(&attribute.key);
        let own = labels.iter().skip(begin).any(|(known, _)| *known == name);
        if own {
            let same = doubled.entry(name).or_default();
            same.insert(&attribute.key, text(&attribute.value));
        } else {
            labels.push((name.into(), text(&attribute.value)));
        }
    }
    if !doubled.is_empty() {
        join(labels, begin, doubled);
    }
}

fn join<'a>(
    labels: &mut Labels<'a>,
    begin: usize,
    doubled: BTreeMap<String, BTreeMap<&str, Cow<'a, str>>>,
) {
    for (name, more) in doubled {
        let found = labels.iter_mut().skip(begin);
        if let Some((_, value)) = found.into_iter().find(|(known, _)| *known == name) {
            let more = more.into_values();
            *value = more.fold(value.clone(), |all, next| format!("{all};{next}").into());
        }
    }
}

/// A value as text ("Attribute", "non-string values" of the common specification: lists
/// are JSON).
fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Int(n) => n.to_string().into(),
        Value::Double(n) => n.to_string().into(),
        Value::Bool(yes) => yes.to_string().into(),
        Value::Strings(list) => json(list),
        Value::Doubles(list) => json(list),
    }
}

fn json<'a>(list: impl serde::Serialize) -> Cow<'a, str> {
    // Texts and numbers can always be written.
    serde_json::to_string(&list).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            job: Some("shop/cart".to_owned()),
            instance: Some("a-1".to_owned()),
        }
    }

    /// Checks that a point says whose it is, who made it, and each attribute once, also
    /// where two keys are one name.
    #[test]
    fn points_have_all_labels() {
        let attributes = [
            Attribute::new("a.b", "1"),
            Attribute::new("a_b", "2"),
            Attribute::new("ok", true),
            Attribute::new("n", 7_i64),
        ];
        let target = target();
        let labels = of_point(&target, &attributes);
        let found: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let version = concat!("otel_scope_version=", env!("CARGO_PKG_VERSION"));
        let expected = [
            "job=shop/cart",
            "instance=a-1",
            "otel_scope_name=observer",
            version,
            "a_b=1;2",
            "ok=true",
            "n=7",
        ];
        assert_eq!(found, expected);
    }

    /// Checks that `target_info` says the rest of a resource, and what its labels say not
    /// twice.
    #[test]
    fn info_has_the_resource() {
        let attributes = [
            Attribute::new("service.name", "cart"),
            Attribute::new("service.version", "2"),
            Attribute::new("host.name", "h"),
        ];
        let target = target();
        let labels = of_info(&target, &attributes);
        let names: Vec<_> = labels.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["job", "instance", "service_version", "host_name"]);
    }
}
