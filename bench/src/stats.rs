//! Medians and spreads.

/// What repeated measurements of one thing say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half of them are below.
    pub median: f64,
    /// A quarter of them are below.
    pub low: f64,
    /// A quarter of them are above.
    pub high: f64,
}

impl Spread {
    /// Of `values` in any order; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&sorted, 0.5)?,
            low: quantile(&sorted, 0.25)?,
            high: quantile(&sorted, 0.75)?,
        })
    }

    /// With a number of decimals: `12.3 (11.9–13.0)`.
    pub fn text(&self, decimals: usize) -> String {
        format!(
            "{:.decimals$} ({:.decimals$}–{:.decimals$})",
            self.median, self.low, self.high
        )
    }

    /// As a JSON object.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"median": self.median, "quartiles": [self.low, self.high]})
    }
}

/// The value below which a share of the sorted values lies, interpolated.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let position = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (position.floor(), position.ceil());
    let (low, high) = (sorted.get(below as usize)?, sorted.get(above as usize)?);
    Some(low + (high - low) * (position - below))
}

/// The median; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    Spread::of(values).map_or(0.0, |spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks quantiles against values worked out by hand.
    #[test]
    fn quantiles() {
        assert_eq!(Spread::of(&[]), None);
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0, 5.0]).expect("not empty");
        assert_eq!((spread.low, spread.median, spread.high), (2.0, 3.0, 4.0));
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert_eq!(median(&[7.0]), 7.0);
    }
}
