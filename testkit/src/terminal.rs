//! A terminal that takes nothing but text, line ends and colours.

use anyhow::{Result, ensure};
use observer_signals::outside::is_obeyed;

/// What a terminal would obey of a text, but for line ends and colours.
#[derive(Default)]
struct Obeyed(Vec<String>);

impl vte::Perform for Obeyed {
    fn execute(&mut self, byte: u8) {
        if byte != b'\n' {
            self.0.push(format!("control {byte:#x}"));
        }
    }
    fn csi_dispatch(&mut self, _: &vte::Params, _: &[u8], _: bool, action: char) {
        if action != 'm' {
            self.0.push(format!("CSI {action}"));
        }
    }
    fn osc_dispatch(&mut self, _: &[&[u8]], _: bool) {
        self.0.push("OSC".to_owned());
    }
    fn esc_dispatch(&mut self, _: &[u8], _: bool, byte: u8) {
        self.0.push(format!("ESC {byte:#x}"));
    }
    fn hook(&mut self, _: &vte::Params, _: &[u8], _: bool, _: char) {
        self.0.push("DCS".to_owned());
    }
}

/// Fails if a terminal would obey anything of a text but line ends and colours, or wouldn't
/// show something of it.
pub fn ensure_shown(text: &str) -> Result<()> {
    let mut obeyed = Obeyed::default();
    vte::Parser::new().advance(&mut obeyed, text.as_bytes());
    ensure!(obeyed.0.is_empty(), "{:?} in {text:?}", obeyed.0);
    // Colours have an escape that is obeyed.
    let unseen = |c| is_obeyed(c) && c != '\n' && c != '\u{1b}';
    let line = text.lines().find(|line| line.contains(unseen));
    ensure!(line.is_none(), "{line:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that what is obeyed, or isn't seen, is found.
    #[test]
    fn what_is_obeyed_is_found() {
        ensure_shown("a\n\u{1b}[31mred\u{1b}[0m 火\n").expect("text");
        for text in [
            "\u{1b}[2J",
            "\u{1b}]0;x\u{7}",
            "\r",
            "\u{9b}2J",
            "\u{202e}",
            "\u{200b}",
        ] {
            ensure_shown(&format!("a{text}b")).expect_err(text);
        }
    }
}
