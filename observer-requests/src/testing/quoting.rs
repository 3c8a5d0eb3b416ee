//! Statements full of literals whose contents must not come out: for the
//! property test and the fuzz target.

use std::fmt::Write as _;

use crate::sql::{Dialect, describe};

/// What is in each literal that is text.
pub const SECRET: &str = "sEcReT";
/// What is in each literal that is a number.
pub const NUMBER: &str = "90125";

/// Between two literals: nothing that ends like a name.
const BETWEEN: &[&str] = &[
    " ",
    ",",
    " = ",
    "(",
    ")",
    " || ",
    " /* it's */ ",
    " -- it's\n",
    " AND a IN (",
    "::text,",
    " VALUES (",
    "), (",
    ";SELECT ",
    " WHERE b > -",
    "+",
    "\n",
    " LIKE ",
    "[",
    "] /* ' */,",
];

/// A literal with `content` in it, quoted in one of several ways.
fn literal(kind: u8, content: &str, dialect: Dialect) -> String {
    let number = |content: &str| format!("{NUMBER}{}", content.len());
    let doubled = |quote: &str| content.replace(quote, &quote.repeat(2));
    let escaped = |quote: char| {
        let mut out = String::new();
        for c in content.chars() {
            if c == quote || c == '\\' {
                out.push('\\');
            }
            out.push(c);
        }
        out
    };
    let hexadecimal = content.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    });
    match (dialect, kind % 14) {
        (_, 0) => number(content),
        (_, 1) => format!("{}.5e-{}", number(content), content.len()),
        (_, 2) => format!("0x{NUMBER}ab"),
        (_, 3) => format!(".{}", number(content)),
        (_, 4) => format!("x'{NUMBER}'"),
        (_, 5) => format!("X'{hexadecimal}{NUMBER}'"),
        (Dialect::Postgres, 6) => format!("E'{SECRET}{}'", escaped('\'')),
        (Dialect::Postgres, 7) => {
            format!("e'{}{SECRET}'", doubled("'").replace('\\', "\\\\"))
        }
        (Dialect::Postgres, 8) => format!("$${SECRET}{}$$", content.replace('$', "")),
        (Dialect::Postgres, 9) => {
            format!("$_t1$ $$ {}{SECRET} $t$ $_t1$", content.replace('$', ""))
        }
        (Dialect::Postgres, 10) => format!("U&'{SECRET}{}'", doubled("'")),
        (Dialect::Postgres, 11) => format!("N'{SECRET}{}'", doubled("'")),
        (Dialect::Postgres, _) => format!("'{}{SECRET}'", doubled("'")),
        (Dialect::MySqlPlain, 6..=9) => format!("'{}{SECRET}'", doubled("'")),
        (Dialect::MySqlPlain, _) => format!("\"{}{SECRET}\"", doubled("\"")),
        (_, 6) => format!("'{SECRET}{}'", escaped('\'')),
        (_, 7) => format!("\"{}{SECRET}\"", escaped('"')),
        (_, 8) => format!("_utf8mb4'{}{SECRET}'", escaped('\'')),
        (_, 9) => format!("n'{}{SECRET}'", escaped('\'')),
        (_, 10) => format!("'{SECRET}{}'", doubled("'").replace('\\', "\\\\")),
        (_, 11) => format!("\"{}{SECRET}\"", doubled("\"").replace('\\', "\\\\")),
        (_, _) => format!("'{}{SECRET}'", escaped('\'')),
    }
}

/// A statement made of anything.
pub fn statement(mut data: &[u8], dialect: Dialect) -> String {
    let mut text = String::from("SELECT ");
    while let [kind, between, length, rest @ ..] = data {
        let length = usize::from(*length % 16).min(rest.len());
        let (content, behind) = rest.split_at(length);
        let content = String::from_utf8_lossy(content);
        text.push_str(&literal(*kind, &content, dialect));
        text.push_str(BETWEEN[usize::from(*between) % BETWEEN.len()]);
        data = behind;
    }
    text
}

/// Asserts that nothing of a statement's literals is in what is kept of it,
/// wherever it is cut.
pub fn check(text: &str, cut: usize, dialect: Dialect) {
    let cut = (0..=cut.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    for text in [text, &text[..cut.unwrap_or(0)]] {
        let kept = describe(text, dialect);
        for kept in [&kept.text, &kept.summary] {
            assert!(!kept.contains(SECRET), "{text}\n{kept}");
            assert!(!kept.contains(NUMBER), "{text}\n{kept}");
        }
        assert!(kept.text.len() <= 2048 && kept.summary.len() <= 255);
    }
}
