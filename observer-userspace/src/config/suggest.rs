//! "Did you mean": the known word that resembles a wrong one.

/// How alike two words must be (Jaro-Winkler, 0..=1) for a suggestion not to
/// be an annoyance. clap uses 0.7 with plain Jaro, which is a bit stricter.
const LIKENESS: f64 = 0.78;

/// The word among `known` that `wrong` most probably stands for.
pub fn did_you_mean<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    // Underscore or dash is the likeliest mistake of all.
    let wrong = wrong.to_ascii_lowercase().replace('_', "-");
    // One slip in a short word changes most of it in the eyes of Jaro.
    let slip = known
        .iter()
        .find(|word| word.len() > 2 && strsim::osa_distance(&wrong, word) <= 1);
    if let Some(word) = slip {
        return Some(word);
    }
    known
        .iter()
        .map(|word| (strsim::jaro_winkler(&wrong, word), *word))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    /// Checks that slips are recognized and unrelated words aren't.
    #[test]
    fn slips_are_recognized() {
        let known = ["interval", "duration", "queue-size"];
        assert_eq!(did_you_mean("intreval", &known), Some("interval"));
        assert_eq!(did_you_mean("queue_size", &known), Some("queue-size"));
        assert_eq!(did_you_mean("Duration", &known), Some("duration"));
        assert_eq!(did_you_mean("tpc", &["tcp", "cpu"]), Some("tcp"));
        assert_eq!(did_you_mean("colour", &known), None);
    }
}
