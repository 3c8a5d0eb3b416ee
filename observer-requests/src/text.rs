//! Texts that are cut to a length.

/// `text`, or as much of it as isn't longer than `length` bytes.
pub(crate) fn cut(text: &str, length: usize) -> &str {
    let end = text.floor_char_boundary(length);
    text.get(..end).unwrap_or_default()
}
