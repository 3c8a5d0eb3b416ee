//! Who had most of something.

use std::collections::BTreeMap;

/// Workloads named; the others are told together.
const NAMED: usize = 3;

/// Amounts by workload.
#[derive(Clone, Debug, Default)]
pub struct Ranking(BTreeMap<String, f64>);

impl Ranking {
    /// Adds to a workload's amount.
    pub fn add(&mut self, workload: String, amount: f64) {
        *self.0.entry(workload).or_default() += amount;
    }

    /// Those with most, as `dd 80 MiB/s, postgres 1.2 MiB/s, 2 others 40 KiB/s`; empty where
    /// nobody had any.
    pub fn text(&self, show: impl Fn(f64) -> String) -> String {
        let mut amounts: Vec<_> = self.0.iter().filter(|(_, amount)| **amount > 0.0).collect();
        amounts.sort_by(|a, b| b.1.total_cmp(a.1));
        // One alone needs no word for it.
        let named = NAMED + usize::from(amounts.len() == NAMED + 1);
        let (first, rest) = amounts.split_at(named.min(amounts.len()));
        let first = first
            .iter()
            .map(|(name, n)| format!("{name} {}", show(**n)));
        let mut texts: Vec<String> = first.collect();
        if !rest.is_empty() {
            let sum = rest.iter().fold(0.0, |sum, (_, n)| sum + **n);
            texts.push(format!("{} others {}", rest.len(), show(sum)));
        }
        texts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the order, that amounts of one workload add up, who is named, and that nobody
    /// is for nothing.
    #[test]
    fn order_and_rest() {
        let mut ranking = Ranking::default();
        let text = |ranking: &Ranking| ranking.text(|n| format!("{n:.0}"));
        ranking.add("none".into(), 0.0);
        assert_eq!(text(&ranking), "");
        for (name, amount) in [("b", 2.0), ("a", 5.0), ("b", 4.0), ("c", 1.0), ("d", 3.0)] {
            ranking.add(name.into(), amount);
        }
        assert_eq!(text(&ranking), "b 6, a 5, d 3, c 1");
        ranking.add("e".into(), 0.4);
        assert_eq!(text(&ranking), "b 6, a 5, d 3, 2 others 1");
    }
}
