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

/// Programs that take passwords, cookies and bodies by options of one letter.
const CLIENTS: &[&str] = &[
    "curl",
    "wget",
    "http",
    "https",
    "ab",
    "wrk",
    "hey",
    "mysql",
    "mariadb",
    "redis-cli",
    "sshpass",
    "ldapsearch",
    "smbclient",
    "ftp",
    "lftp",
    "mongosh",
    "mongo",
    "cqlsh",
    "snmpget",
    "snmpwalk",
    "openssl",
    "htpasswd",
];

/// `process.command_args`: the values of options that are called after secrets, passwords
/// and queries in URLs, headers with authorization, and of programs that are known to take
/// secrets so, all values of options of one letter are left out; so are pairs behind those
/// of other programs. The rest is cut. A secret that nothing around it calls one can't be
/// told.
pub(crate) fn command_args(arguments: &[String]) -> Vec<String> {
    let mut is_secret = false;
    let mut is_behind_letter = false;
    let mut out = Vec::new();
    let is_client = arguments.first().is_some_and(|first| is_client(first));
    for argument in arguments.iter().take(MOST) {
        let hidden = std::mem::take(&mut is_secret) && !argument.starts_with("--");
        let is_value = std::mem::take(&mut is_behind_letter) && !argument.starts_with('-');
        if hidden || is_value && !is_harmless(argument, is_client) {
            out.push(REDACTED.to_owned());
            continue;
        }
        if let Some(letter) = one_letter(argument) {
            is_behind_letter = argument.len() == letter.len();
            if is_client && !is_behind_letter {
                out.push(format!("{letter}{REDACTED}"));
                continue;
            }
        }
        is_secret = argument.starts_with('-') && !argument.contains('=') && names_secret(argument);
        out.push(text::cut(&redacted(argument), text::VALUE_LIMIT));
    }
    out
}

fn is_client(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    let is_one = |client: &str| name == client || client.len() > 4 && name.starts_with(client);
    CLIENTS.iter().any(|client| is_one(client))
}

/// `-x` of `-x` and `-xVALUE`.
fn one_letter(argument: &str) -> Option<&str> {
    let letter = argument.strip_prefix('-')?.chars().next()?;
    let is_letter = letter.is_ascii_alphabetic();
    is_letter.then(|| argument.get(..2)).flatten()
}

/// Whether the value of an option of one letter is no secret: a number, a path, an address
/// with a port; of programs that take no secrets so, whatever is no pair.
fn is_harmless(value: &str, is_client: bool) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_number(value) || value.starts_with('/') || value.contains("://") {
        return true;
    }
    match value.split_once(['=', ':']) {
        Some((_, behind)) => is_number(behind),
        None => !is_client,
    }
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

/// `scheme://user:password@host/path?query` without password and query.
fn without_password(argument: &str) -> String {
    let whole = argument;
    let argument = match whole.split_once('?') {
        Some((before, _)) if before.contains("://") => &format!("{before}?{REDACTED}"),
        _ => whole,
    };
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
                &["x", "postgres://REDACTED@db/shop?REDACTED"],
            ),
            (&["x", "http://db/a@b"], &["x", "http://db/a@b"]),
            (
                &["/usr/bin/curl", "-H", "Authorization: Bearer abc"],
                &["/usr/bin/curl", "-H", "REDACTED"],
            ),
            (
                &["x", "Authorization: Bearer abc"],
                &["x", "Authorization: REDACTED REDACTED"],
            ),
            (
                &[
                    "curl",
                    "-s",
                    "-u",
                    "user:abc",
                    "-d",
                    "abc",
                    "http://a/b?c=abc",
                ],
                &[
                    "curl",
                    "-s",
                    "-u",
                    "REDACTED",
                    "-d",
                    "REDACTED",
                    "http://a/b?REDACTED",
                ],
            ),
            (
                &["mysql", "-pabc", "shop"],
                &["mysql", "-pREDACTED", "shop"],
            ),
            (
                &["gunicorn", "-b", "0.0.0.0:80", "-k", "gevent", "shop:app"],
                &["gunicorn", "-b", "0.0.0.0:80", "-k", "gevent", "shop:app"],
            ),
            (&["tool", "-u", "user:abc"], &["tool", "-u", "REDACTED"]),
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
