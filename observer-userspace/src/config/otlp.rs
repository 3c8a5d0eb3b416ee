//! OTLP options in the OpenTelemetry variables' words, which is how the
//! exporter reads all its sources.

use super::layer::OtlpLayer;

/// A value given elsewhere than in the environment: the variable it stands
/// for, the value, and how the user calls it (for errors).
pub type Given = (String, String, String);

impl OtlpLayer {
    /// What was given, called by flags: `--otlp-endpoint`.
    pub fn flag_variables(&self) -> Vec<Given> {
        self.variables("--otlp-")
    }

    /// What was given, called by keys of the file: `otlp.endpoint`.
    pub fn file_variables(&self) -> Vec<Given> {
        self.variables("otlp.")
    }

    fn variables(&self, prefix: &str) -> Vec<Given> {
        let mut given = Vec::new();
        let mut add = |variable: &str, value: Option<String>, key: &str| {
            if let Some(value) = value {
                given.push((variable.to_owned(), value, format!("{prefix}{key}")));
            }
        };
        let path = |path: &Option<std::path::PathBuf>| {
            path.as_ref().map(|p| p.to_string_lossy().into_owned())
        };
        let exporter = |wanted: Option<bool>| {
            wanted.map(|wanted| if wanted { "otlp" } else { "none" }.to_owned())
        };
        let headers = self.headers.as_ref().map(|headers| {
            let pairs = headers
                .iter()
                .map(|h| format!("{}={}", percent_encode(&h.name), percent_encode(&h.value)));
            pairs.collect::<Vec<_>>().join(",")
        });
        // Rounded up: OTLP calls a timeout of zero "none".
        let timeout = self
            .timeout
            .map(|p| p.0.as_nanos().div_ceil(1_000_000).to_string());
        let headers_key = if prefix.starts_with('-') {
            "header"
        } else {
            "headers"
        };

        add(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            self.endpoint.clone(),
            "endpoint",
        );
        add(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            self.protocol.clone(),
            "protocol",
        );
        add("OTEL_EXPORTER_OTLP_HEADERS", headers, headers_key);
        add(
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            self.compression.clone(),
            "compression",
        );
        add("OTEL_EXPORTER_OTLP_TIMEOUT", timeout, "timeout");
        add(
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            path(&self.certificate),
            "certificate",
        );
        add(
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            path(&self.client_certificate),
            "client-certificate",
        );
        add(
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            path(&self.client_key),
            "client-key",
        );
        add(
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            self.temporality.clone(),
            "temporality",
        );
        add("OTEL_METRICS_EXPORTER", exporter(self.metrics), "metrics");
        add("OTEL_TRACES_EXPORTER", exporter(self.traces), "traces");
        add(
            "OTEL_PROFILES_EXPORTER",
            exporter(self.profiles),
            "profiles",
        );
        given
    }
}

/// Everything but RFC 3986's unreserved characters, so that any value survives
/// the variable's list syntax.
fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::super::values::Header;
    use super::*;

    /// Checks that given options, and only these, stand for variables.
    #[test]
    fn options_stand_for_variables() {
        assert!(OtlpLayer::default().flag_variables().is_empty());
        let layer = OtlpLayer {
            endpoint: Some("http://x:4317".to_owned()),
            headers: Some(vec![Header {
                name: "a".to_owned(),
                value: "b,c=d é".to_owned(),
            }]),
            timeout: "1500us".parse().ok(),
            profiles: Some(false),
            ..OtlpLayer::default()
        };
        let own = |variable: &str, value: &str, from: &str| {
            (variable.to_owned(), value.to_owned(), from.to_owned())
        };
        assert_eq!(
            layer.flag_variables(),
            [
                own(
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                    "http://x:4317",
                    "--otlp-endpoint"
                ),
                own(
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    "a=b%2Cc%3Dd%20%C3%A9",
                    "--otlp-header"
                ),
                own("OTEL_EXPORTER_OTLP_TIMEOUT", "2", "--otlp-timeout"),
                own("OTEL_PROFILES_EXPORTER", "none", "--otlp-profiles"),
            ]
        );
        assert_eq!(layer.file_variables()[1].2, "otlp.headers");
    }
}
