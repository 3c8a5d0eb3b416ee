//! Attributes, resources and the scope as OTLP messages.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1 as proto;

use super::SCOPE_NAME;
use super::wire::Wire;
use observer_signals::{Attribute, Resource, Value};

/// Encodes a value of an attribute.
pub fn any_value(value: &Value) -> AnyValue {
    let value = match value {
        Value::String(s) => Any::StringValue(s.to_string()),
        Value::Int(i) => Any::IntValue(*i),
        Value::Double(d) => Any::DoubleValue(*d),
        Value::Bool(b) => Any::BoolValue(*b),
        Value::Strings(list) => array(list.iter().map(|s| Any::StringValue(s.clone()))),
        Value::Doubles(list) => array(list.iter().map(|d| Any::DoubleValue(*d))),
    };
    AnyValue { value: Some(value) }
}

fn array(values: impl Iterator<Item = Any>) -> Any {
    let values = values.map(|value| AnyValue { value: Some(value) });
    Any::ArrayValue(ArrayValue {
        values: values.collect(),
    })
}

/// One attribute.
pub fn key_value(attribute: &Attribute) -> KeyValue {
    KeyValue {
        key: attribute.key.to_string(),
        value: Some(any_value(&attribute.value)),
        ..Default::default()
    }
}

/// A list of attributes.
pub fn key_values(attributes: &[Attribute]) -> Vec<KeyValue> {
    attributes.iter().map(key_value).collect()
}

/// A resource, with `extra` attributes (the user's `OTEL_RESOURCE_ATTRIBUTES`)
/// where it doesn't have them itself. `service.*` among them names the daemon,
/// not the workloads it watches, and is left out.
pub fn resource(resource: &Resource, extra: &[Attribute]) -> proto::Resource {
    proto::Resource {
        attributes: all(resource, extra).map(key_value).collect(),
        ..Default::default()
    }
}

/// Writes the fields of the same.
pub(super) fn write_resource(out: &mut Wire, resource: &Resource, extra: &[Attribute]) {
    for attribute in all(resource, extra) {
        out.attributes(1, std::slice::from_ref(attribute));
    }
}

fn all<'a>(resource: &'a Resource, extra: &'a [Attribute]) -> impl Iterator<Item = &'a Attribute> {
    let added = extra
        .iter()
        .filter(|a| !a.key.starts_with("service.") && resource.get(&a.key).is_none());
    resource.attributes.iter().chain(added)
}

/// The instrumentation scope of all that Observer makes.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: SCOPE_NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    }
}
