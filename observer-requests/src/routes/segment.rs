//! What in a path is a name, and what stands for one of many things.

use crate::identifier::is_id;

/// What stands for an identifier.
pub const ID: &str = "{id}";

/// Appends what a segment is called in a route. `last`: it ends the path, and
/// may be the name of a file.
pub fn write(segment: &str, last: bool, out: &mut String) {
    // Parameters of a segment (RFC 3986, 3.3), like `;jsessionid=…`.
    let segment = segment.split(';').next().unwrap_or_default();
    // A verb after the thing: `/books/42:archive`.
    if let Some((thing, verb)) = segment.split_once(':')
        && (3..=24).contains(&verb.len())
        && verb.bytes().all(|b| b.is_ascii_alphabetic())
    {
        out.push_str(if is_id(thing) { ID } else { thing });
        out.push(':');
        out.push_str(verb);
        return;
    }
    if last
        && let Some((stem, extension)) = segment.rsplit_once('.')
        && !stem.is_empty()
        && !stem.contains('@')
        && is_extension(extension)
    {
        write_stem(stem, out);
        out.push('.');
        out.push_str(extension);
        return;
    }
    out.push_str(if is_id(segment) { ID } else { segment });
}

/// `png`, `woff2`, `7z`.
fn is_extension(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && text.bytes().filter(u8::is_ascii_digit).count() <= 1
}

/// A file's name without its extension: `app.3f2a` is `app.{id}`, `index-BcD3f9aX`
/// is `index-{id}`.
fn write_stem(stem: &str, out: &mut String) {
    let mut before_was_id = false;
    for (i, part) in stem.split('.').enumerate() {
        let tail = part
            .rsplit_once(['-', '_'])
            .filter(|(name, hash)| hash.len() >= 4 && !name.is_empty() && !is_id(name))
            .filter(|(_, hash)| is_id(hash) || is_short_hash(hash))
            .and_then(|(_, hash)| part.strip_suffix(hash));
        let id = tail.is_none() && (is_id(part) || is_short_hash(part));
        if id && before_was_id {
            continue;
        }
        before_was_id = id;
        if i > 0 {
            out.push('.');
        }
        match tail {
            Some(name) => {
                out.push_str(name);
                out.push_str(ID);
            }
            None if id => out.push_str(ID),
            None => out.push_str(part),
        }
    }
}

/// `3f2a`: what builders put into the names of files.
fn is_short_hash(text: &str) -> bool {
    text.len() >= 4
        && text.bytes().all(|b| b.is_ascii_hexdigit())
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks files, verbs and parameters of segments.
    #[test]
    fn segments() {
        let table = [
            ("app.3f2a.js", "app.{id}.js"),
            ("index-BcD3f9aX.js", "index-{id}.js"),
            ("main.abc123ef.chunk.css", "main.{id}.chunk.css"),
            ("logo.png", "logo.png"),
            ("12345.png", "{id}.png"),
            ("font.woff2", "font.woff2"),
            ("jquery-3.6.0.min.js", "jquery-3.{id}.min.js"),
            ("report-2026-11-21.pdf", "{id}.pdf"),
            ("order-12345.pdf", "order-{id}.pdf"),
            ("robots.txt", "robots.txt"),
            ("joe@example.com", "{id}"),
            ("42:archive", "{id}:archive"),
            ("projects:list", "projects:list"),
            ("login;jsessionid=A1B2", "login"),
            ("42;v=1", "{id}"),
        ];
        for (segment, expected) in table {
            let mut out = String::new();
            write(segment, true, &mut out);
            assert_eq!(out, expected, "{segment}");
        }
    }
}
