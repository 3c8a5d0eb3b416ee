//! What a reader found, as it is exported.

use observer_signals::attribute::SharedAttributes;
use observer_signals::{Attribute, MetricDef, PointValue};

/// A point without its begin and its resource.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub def: &'static MetricDef,
    pub attributes: SharedAttributes,
    pub value: PointValue,
}

impl Told {
    /// A count or level; nothing of what isn't known.
    pub(super) fn number(
        def: &'static MetricDef,
        attributes: &[(&'static str, &'static str)],
        value: Option<u64>,
    ) -> Option<Self> {
        let value = i64::try_from(value?).unwrap_or(i64::MAX);
        let value = PointValue::Int(value);
        let attributes = shared(attributes);
        Some(Self {
            def,
            attributes,
            value,
        })
    }

    /// A fraction, or seconds.
    pub(super) fn fraction(
        def: &'static MetricDef,
        attributes: &[(&'static str, &'static str)],
        value: Option<f64>,
    ) -> Option<Self> {
        let value = PointValue::Double(value?);
        let attributes = shared(attributes);
        Some(Self {
            def,
            attributes,
            value,
        })
    }
}

fn shared(attributes: &[(&'static str, &'static str)]) -> SharedAttributes {
    let attributes = attributes.iter();
    attributes
        .map(|(key, value)| Attribute::new(*key, *value))
        .collect()
}
