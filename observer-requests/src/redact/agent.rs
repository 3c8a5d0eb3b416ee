//! Texts that a program says of itself: user agents. They are products and comments (RFC
//! 9110, 10.1.5), but some programs put URLs with passwords into them, keys and tokens.

use std::borrow::Cow;

use super::{REDACTED, Redacted, Redactor, is_secret, push_printable};
use crate::target::Target;

/// Words after which a secret follows, in small letters.
const SCHEMES: [&str; 6] = ["bearer", "basic", "digest", "token", "apikey", "negotiate"];

/// What names of secrets have in them, in small letters.
const NAMES: [&str; 11] = [
    "token",
    "secret",
    "passw",
    "pwd",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "credential",
    "session",
    "signature",
];

/// What is shorter is a word, also behind one of [`SCHEMES`]: `Visual Basic 6`.
const SHORTEST: usize = 6;

impl Redactor {
    /// A user agent: without what looks like a secret, and without the user's words.
    pub fn agent(&self, text: &str) -> Redacted {
        let mut out = String::with_capacity(text.len());
        let mut secret_follows = false;
        let separates = |c: char| c.is_whitespace() || "(),;\"'<>[]{}".contains(c);
        for piece in text.split_inclusive(separates) {
            let word = piece.strip_suffix(separates).unwrap_or(piece);
            if secret_follows && word.len() >= SHORTEST {
                out.push_str(REDACTED);
            } else {
                self.write_word(word, &mut out);
            }
            out.extend(piece.get(word.len()..));
            if !word.is_empty() {
                let scheme = word.rsplit([':', '=']).find(|part| !part.is_empty());
                let is_scheme =
                    |known: &&str| scheme.is_some_and(|s| s.eq_ignore_ascii_case(known));
                secret_follows = SCHEMES.iter().any(is_scheme);
            }
        }
        let out: Cow<'_, str> = self.without_words(&out);
        Redacted::new(out.into_owned())
    }

    fn write_word(&self, word: &str, out: &mut String) {
        if word.contains("://") {
            // `+https://example.com/bot` is how robots say who they are.
            let (mark, url) = match word.strip_prefix('+') {
                Some(url) => ("+", url),
                None => ("", word),
            };
            out.push_str(mark);
            return self.write_own_url(url, out);
        }
        if let Some((path, query)) = word.split_once('?') {
            self.write_word(path, out);
            out.push('?');
            return self.write_query(query, out);
        }
        if let Some((name, _)) = word.split_once(['=', ':'])
            && is_name_of_secret(name)
        {
            out.push_str(name);
            out.extend(word.get(name.len()..=name.len()));
            return out.push_str(REDACTED);
        }
        for (i, part) in word.split('/').enumerate() {
            if i > 0 {
                out.push('/');
            }
            // Also behind a name: `key=…`.
            let hidden = is_secret(part) || part.split(['=', ':']).any(is_secret);
            out.push_str(if hidden { REDACTED } else { part });
        }
    }

    fn write_own_url(&self, url: &str, out: &mut String) {
        let target = Target::split(url);
        let (Some(scheme), Some(authority)) = (target.scheme, target.authority) else {
            return out.push_str(REDACTED);
        };
        push_printable(scheme, out);
        out.push_str("://");
        if target.user.is_some() {
            out.push_str(REDACTED);
            out.push('@');
        }
        push_printable(authority, out);
        self.write_path(target.path, out);
        if let Some(query) = target.query {
            out.push('?');
            self.write_query(query, out);
        }
    }
}

fn is_name_of_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "key" || name == "sid" || NAMES.iter().any(|known| name.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that agents as browsers, libraries and robots send them stay as they are.
    #[test]
    fn usual_agents_stay() {
        for agent in [
            "",
            "curl/8.5.0",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "grpc-go/1.68.0",
            "python-requests/2.32.3",
            "Boto3/1.35.74 md/Botocore#1.35.74 ua/2.0 os/linux#6.8.0 lang/python#3.12.3",
            "kube-probe/1.31",
            "Microsoft Visual Basic 6",
            "Go-http-client/1.1",
        ] {
            assert_eq!(Redactor::default().agent(agent), agent);
        }
    }

    /// Checks that passwords in URLs, values in queries, e-mail addresses, and tokens
    /// behind a scheme, a name or by their looks are hidden.
    #[test]
    fn secrets_are_hidden() {
        let table = [
            (
                "a/1 (http://joe:hunter2@h.example/x?k=hunter2)",
                "a/1 (http://REDACTED@h.example/x?k=REDACTED)",
            ),
            ("a/1 +https://hunter2@h/", "a/1 +https://REDACTED@h/"),
            ("joe:hunter2@h.example", "REDACTED"),
            ("a/1 joe@example.com", "a/1 REDACTED"),
            ("a/1 Bearer hunter2", "a/1 Bearer REDACTED"),
            (
                "a/1 authorization: bearer hunter2",
                "a/1 authorization:REDACTED bearer REDACTED",
            ),
            (
                "a/1 (Authorization=Basic hunter2)",
                "a/1 (Authorization=REDACTED REDACTED)",
            ),
            ("a/1 token=hunter2; x", "a/1 token=REDACTED; x"),
            ("X-Api-Key:hunter2", "X-Api-Key:REDACTED"),
            ("a/1 /x?hunter2=hunter2", "a/1 /x?hunter2=REDACTED"),
            ("a/eyJhbGciOiJIUzI1NiJ9.e30.x", "a/REDACTED"),
            ("a/1 k=AbCdEf0123456789AbCdEf", "a/1 REDACTED"),
        ];
        for (agent, expected) in table {
            assert_eq!(Redactor::default().agent(agent), expected, "{agent}");
        }
        let rules = ["*hunter*".parse().expect("a rule")];
        let agent = Redactor::new(&rules, &[]).agent("hunter2/1.0 x");
        assert_eq!(agent, "REDACTED/1.0 x");
    }
}
