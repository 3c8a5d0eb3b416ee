//! Which exposition, and whether compressed: what a scraper accepts.
//!
//! Source: RFC 9110, "Content Negotiation", and Prometheus, "Content negotiation".

/// What can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text of version 0.0.4: for who doesn't say what it accepts.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Protobuf, with native histograms.
    Protobuf,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Text, Self::OpenMetrics, Self::Protobuf];

    /// For the header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// What the header `Accept` wants most of what there is; text if it wants none of it.
    pub fn accepted(accept: &str) -> Self {
        let mut best = (Self::Text, 0);
        for part in accept.split(',') {
            let mut words = part.split(';').map(str::trim);
            let kind = words.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<&str> = words.collect();
            let get = |name: &str| {
                let found = parameters.iter().filter_map(|p| p.split_once('='));
                let mut found = found.filter(|(known, _)| known.trim().eq_ignore_ascii_case(name));
                found
                    .next()
                    .map(|(_, value)| value.trim().trim_matches('"'))
            };
            let format = match kind.as_str() {
                "application/vnd.google.protobuf" => {
                    let family =
                        get("proto").is_none_or(|p| p == "io.prometheus.client.MetricFamily");
                    let delimited = get("encoding").is_none_or(|e| e == "delimited");
                    (family && delimited).then_some(Self::Protobuf)
                }
                "application/openmetrics-text" => {
                    let known = get("version").is_none_or(|v| ["1.0.0", "0.0.1"].contains(&v));
                    known.then_some(Self::OpenMetrics)
                }
                "text/plain" | "text/*" => get("version")
                    .is_none_or(|v| v == "0.0.4")
                    .then_some(Self::Text),
                "*/*" => Some(Self::Text),
                _ => None,
            };
            let weight = weight(get("q"));
            if let Some(format) = format.filter(|_| weight > best.1) {
                best = (format, weight);
            }
        }
        best.0
    }
}

/// Whether the header `Accept-Encoding` takes gzip.
pub fn takes_gzip(accept: &str) -> bool {
    accept.split(',').any(|part| {
        let (name, rest) = part.split_once(';').unwrap_or((part, ""));
        let quality = rest.trim().strip_prefix("q=");
        name.trim().eq_ignore_ascii_case("gzip") && weight(quality) > 0
    })
}

/// A weight in thousandths; 1 where none is given, 0 where it can't be read.
fn weight(quality: Option<&str>) -> u32 {
    let Some(quality) = quality else {
        return 1000;
    };
    let parsed = quality.trim().parse::<f64>().ok();
    parsed.map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what real scrapers ask for, and what a hostile or careless one may.
    #[test]
    fn formats_are_negotiated() {
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let open = "application/openmetrics-text; version=1.0.0,application/openmetrics-text; version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let three = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (native, Format::Protobuf),
            (open, Format::OpenMetrics),
            (three, Format::OpenMetrics),
            ("*/*", Format::Text),
            ("", Format::Text),
            ("text/html,application/xhtml+xml", Format::Text),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            (
                "application/vnd.google.protobuf;encoding=text",
                Format::Text,
            ),
            (
                "application/openmetrics-text;q=0, text/plain;q=0.1",
                Format::Text,
            ),
            ("application/openmetrics-text;q=x", Format::Text),
            (";;;,=,;q=,\u{7f}", Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    /// Checks that gzip is only for those who take it.
    #[test]
    fn encodings_are_negotiated() {
        for (accept, gzip) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(accept), gzip, "{accept}");
        }
    }
}
