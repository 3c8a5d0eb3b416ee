//! Command lines without what could be secret.

use crate::text;

/// So many arguments are kept.
const MOST: usize = 64;

/// What stands for a value that is left out.
const REDACTED: &str = "REDACTED";

/// Words in the names of options whose values are secret.
const SECRET: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "access-key",
    "access_key",
    "accesskey",
    "private-key",
    "private_key",
    "credential",
    "cookie",
    "auth",
    "bearer",
    "signature",
    "dsn",
    "connection-string",
    "connectionstring",
];

/// `process.command_args`: the values of options that are called after secrets, passwords
/// in URLs, and headers with authorization are left out; the rest is cut. A secret that
/// nothing around it calls one can't be told.
pub(crate) fn command_args(arguments: &[String]) -> Vec<String> {
    let mut is_secret = false;
    let mut out = Vec::new();
    for argument in arguments.iter().take(MOST) {
        let hidden = std::mem::take(&mut is_secret) && !argument.starts_with("--");
        if hidden {
            out.push(REDACTED.to_owned());
            continue;
        }
        is_secret = argument.starts_with('-') && !argument.contains('=') && names_secret(argument);
        out.push(text::cut(&redacted(argument), text::VALUE_LIMIT));
    }
    out
}

fn redacted(argument: &str) -> String {
    // A title or a shell's command: word by word.
    if argument.contains(char::is_whitespace) {
        let words: Vec<String> = argument.split_whitespace().map(str::to_owned).collect();
        return words_redacted(&words).join(" ");
    }
    if let Some((name, _)) = argument.split_once(['=', ':'])
        && names_secret(name)
    {
        let separator = argument.chars().nth(name.chars().count()).unwrap_or('=');
        return format!("{name}{separator}{REDACTED}");
    }
    without_password(argument)
}

fn words_redacted(words: &[String]) -> Vec<String> {
    let mut is_secret = false;
    let mut out = Vec::new();
    for word in words {
        if std::mem::take(&mut is_secret) {
            // `Authorization: Bearer x`: the scheme, too.
            is_secret = matches!(word.to_ascii_lowercase().as_str(), "bearer" | "basic" | "=");
            out.push(REDACTED.to_owned());
            continue;
        }
        let bare = word.trim_end_matches([':', '=']);
        is_secret = names_secret(bare)
            && (bare.len() < word.len() || word.starts_with('-'))
            && !bare.contains('=');
        out.push(if is_secret {
            word.clone()
        } else {
            redacted(word)
        });
    }
    out
}

fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|word| name.contains(word))
}

/// `scheme://user:password@host` without the password.
fn without_password(argument: &str) -> String {
    let Some((scheme, rest)) = argument.split_once("://") else {
        return argument.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or(rest);
    let behind = rest.get(end..).unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{REDACTED}@{host}{behind}"),
        None => argument.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> Vec<String> {
        command_args(&line.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
    }

    /// Checks that secrets are left out by the names of their options, and that the rest
    /// stays.
    #[test]
    fn secrets_are_left_out() {
        let table: &[(&[&str], &[&str])] = &[
            (&["x", "--port", "80"], &["x", "--port", "80"]),
            (&["x", "--password", "a"], &["x", "--password", "REDACTED"]),
            (
                &["x", "--db-password=a=b"],
                &["x", "--db-password=REDACTED"],
            ),
            (&["x", "-Dapi.token=a"], &["x", "-Dapi.token=REDACTED"]),
            (&["x", "PGPASSWORD=a"], &["x", "PGPASSWORD=REDACTED"]),
            (&["x", "--no-auth", "--port"], &["x", "--no-auth", "--port"]),
            (&["x", "-setcookie", "a"], &["x", "-setcookie", "REDACTED"]),
            (
                &["x", "postgres://u:p@db/shop?a=b"],
                &["x", "postgres://REDACTED@db/shop?a=b"],
            ),
            (&["x", "http://db/a@b"], &["x", "http://db/a@b"]),
            (
                &["curl", "-H", "Authorization: Bearer abc"],
                &["curl", "-H", "Authorization: REDACTED REDACTED"],
            ),
            (
                &["sh", "-c", "run --token abc --port 80"],
                &["sh", "-c", "run --token REDACTED --port 80"],
            ),
        ];
        for (line, expected) in table {
            assert_eq!(args(line), *expected, "{line:?}");
        }
        assert_eq!(args(&["x"; 1000]).len(), MOST);
    }
}
