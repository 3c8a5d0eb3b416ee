//! One stack out of two: Python's frames take the place of the interpreter's loop in which
//! they ran.
//!
//! Each call from C into Python runs a loop of its own (`_PyEval_EvalFrameDefault`), and
//! Python functions that call each other stay in it. So a run of Python frames, up to the
//! one that C called, belongs to one native frame.

use observer_common::cpython::CodeFrame;

/// What a native frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stacks) enum Native {
    /// The interpreter's loop.
    Loop,
    /// Another function of the file that the interpreter is in.
    Interpreter,
    /// Anything else.
    Other,
}

/// A frame of the merged stack, by its number in one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stacks) enum Merged {
    /// Of the native stack.
    Native(usize),
    /// Of Python's.
    Python(usize),
}

/// Both stacks in one, leaf first as they are. If the native one `is_complete` its roots
/// belong together, else the leaves do. The interpreter's own functions are left out unless
/// `keep`.
pub(in crate::stacks) fn merge(
    natives: &[Native],
    python: &[CodeFrame],
    is_complete: bool,
    keep: bool,
) -> Vec<Merged> {
    let all = |range: std::ops::Range<usize>| range.map(Merged::Python);
    if python.is_empty() {
        return (0..natives.len()).map(Merged::Native).collect();
    }
    // The runs, leaf first, as ranges; the last may lack the frame that C called.
    let mut runs = Vec::new();
    let mut begin = 0;
    for (number, frame) in python.iter().enumerate() {
        if frame.is_entry || number + 1 == python.len() {
            runs.push(begin..number + 1);
            begin = number + 1;
        }
    }
    let loops = natives.iter().filter(|n| **n == Native::Loop).count();
    // A loop that has just begun, or is about to end, has no frame yet or any more.
    let (mut empty, mut early) = match is_complete {
        true => (
            loops.saturating_sub(runs.len()),
            runs.len().saturating_sub(loops),
        ),
        false => (0, 0),
    };
    let mut merged = Vec::with_capacity(natives.len() + python.len());
    let mut runs = runs.into_iter();
    for (number, native) in natives.iter().enumerate() {
        // Loops that aren't seen (in code that the compiler moved elsewhere): the innermost,
        // which is most likely one of the interpreter's functions that has no name.
        if *native != Native::Other {
            let unseen = std::mem::take(&mut early);
            merged.extend(runs.by_ref().take(unseen).flat_map(all));
        }
        if *native == Native::Loop {
            match empty.checked_sub(1) {
                Some(fewer) => empty = fewer,
                None => merged.extend(runs.next().into_iter().flat_map(all)),
            }
        }
        if keep || *native == Native::Other {
            merged.push(Merged::Native(number));
        }
    }
    merged.extend(runs.flat_map(all));
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(frames: &str) -> Vec<CodeFrame> {
        let frame = |c: char| CodeFrame {
            code: c.to_ascii_lowercase() as u64 * 16,
            identity: 1,
            unit: Some(0),
            is_entry: c.is_ascii_uppercase(),
        };
        frames.chars().map(frame).collect()
    }

    /// Merges; natives: `L` a loop, `i` the interpreter's, else another; python: frames, in
    /// capitals those that C called. Numbers of the result are the letters again.
    fn merged(natives: &str, python: &str, is_complete: bool, keep: bool) -> String {
        let kinds = natives.chars().map(|c| match c {
            'L' => Native::Loop,
            'i' => Native::Interpreter,
            _ => Native::Other,
        });
        let kinds: Vec<Native> = kinds.collect();
        let letter = |frame| match frame {
            Merged::Native(n) => natives.chars().nth(n),
            Merged::Python(n) => python.chars().nth(n),
        };
        let merged = merge(&kinds, &stack(python), is_complete, keep);
        merged.into_iter().filter_map(letter).collect()
    }

    /// Checks that runs take the places of their loops, whatever else the native stack has
    /// between them, with the interpreter's own functions and without.
    #[test]
    fn runs_take_their_loops_places() {
        assert_eq!(merged("rLiL_", "aBcdE", true, false), "raBcdE_");
        assert_eq!(merged("rLiL_", "aBcdE", true, true), "raBLicdEL_");
        assert_eq!(merged("xLisLiiL_", "ABC", true, false), "xAsBC_");
        assert_eq!(merged("xyz", "", true, false), "xyz");
        assert_eq!(merged("LiL", "", true, false), "LiL");
    }

    /// Checks loops that have no frames yet, and stacks of which one half ends early.
    #[test]
    fn halves_of_different_lengths() {
        assert_eq!(merged("LiL_", "aB", true, false), "aB_");
        assert_eq!(merged("LxL_", "aB", true, false), "xaB_");
        assert_eq!(merged("xLi", "ABC", false, false), "xABC");
        assert_eq!(merged("xL_", "AbC", true, false), "xAbC_");
        assert_eq!(merged("xLyL", "a", false, false), "xay");
        assert_eq!(merged("x", "aB", false, false), "xaB");
    }
}
