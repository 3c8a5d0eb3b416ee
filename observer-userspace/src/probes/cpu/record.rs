//! The records that tell of stacks.

use observer_common::cpu::StackHeader;
use observer_common::cpython::{CodeFrame, WORDS};

use crate::kernel::ring;
use crate::stacks::RawStack;

/// A record of the ring, as `observer_common::cpu` lays it out; `None` if it is
/// cut short.
pub(super) fn parse(record: &[u8]) -> Option<(StackHeader, RawStack)> {
    let header: StackHeader = ring::record(record)?;
    let frames = record.get(size_of::<StackHeader>()..)?;
    let kernel_frames = usize::from(header.key.kernel_frames);
    let user_frames = usize::from(header.key.user_frames);
    let (frames, _) = frames.as_chunks::<8>();
    let python_frames = usize::from(header.key.python_frames);
    let frames = frames.get(..kernel_frames + user_frames + python_frames * WORDS)?;
    let (kernel, user) = frames.split_at(kernel_frames);
    let (user, python) = user.split_at(user_frames);
    let addresses = |frames: &[[u8; 8]]| frames.iter().map(|f| u64::from_ne_bytes(*f)).collect();
    let stack = RawStack {
        kernel: addresses(kernel),
        user: addresses(user),
        python: python
            .as_chunks()
            .0
            .iter()
            .map(|words| CodeFrame::unpack(words.map(u64::from_ne_bytes)))
            .collect(),
    };
    Some((header, stack))
}

/// A comm as text.
pub(super) fn text(comm: &[u8; 16]) -> String {
    let name = comm.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: usize = size_of::<StackHeader>() / 8;

    /// A record with frames 1, 2, … of which the first are the kernel's.
    fn record(kernel: u16, user: u8, python: u8) -> Vec<u8> {
        // Zeroes but for the two numbers, which follow two hashes and three ids.
        let mut words = vec![0_u64; WORDS];
        words.extend(1..=u64::from(kernel) + u64::from(user) + 2 * u64::from(python));
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let at = std::mem::offset_of!(StackHeader, key)
            + std::mem::offset_of!(observer_common::cpu::SampleKey, kernel_frames);
        bytes[at..at + 2].copy_from_slice(&kernel.to_ne_bytes());
        bytes[at + 2..at + 4].copy_from_slice(&[user, python]);
        bytes
    }

    /// Checks that frames go to the half that they belong to.
    #[test]
    fn halves() {
        for (kernel, user, python) in [(0, 0, 0), (2, 0, 0), (0, 3, 1), (2, 3, 4), (127, 127, 127)]
        {
            let (header, stack) = parse(&record(kernel, user, python)).expect("whole");
            assert_eq!(header.key.kernel_frames, kernel);
            let halves = stack.kernel.iter().chain(&stack.user);
            let frames: Vec<u64> = halves.copied().collect();
            let native = u64::from(kernel) + u64::from(user);
            assert!(frames.iter().copied().eq(1..=native));
            let identities = stack.python.iter().map(|frame| frame.identity);
            let pairs = 1..=u64::from(python);
            assert!(identities.eq(pairs.map(|pair| native + pair * 2)));
            assert_eq!(stack.kernel.len(), usize::from(kernel));
        }
    }

    /// Checks that a stack that is cut short is none, and that what follows one
    /// is no part of it.
    #[test]
    fn other_lengths() {
        let whole = record(2, 3, 0);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_none(), "{length} bytes");
        }
        let longer = [whole, vec![9; 11]].concat();
        let (_, stack) = parse(&longer).expect("whole");
        assert_eq!(*stack.user, [3, 4, 5]);
    }

    /// Checks names with and without an end, and those that aren't UTF-8.
    #[test]
    fn names() {
        assert_eq!(text(b"observer\0\0trash\0"), "observer");
        assert_eq!(text(b"0123456789abcdef"), "0123456789abcdef");
        assert_eq!(text(b"\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "\u{fffd}");
        assert_eq!(text(&[0; 16]), "");
    }
}
