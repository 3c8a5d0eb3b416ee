//! Follows a function's instructions to find where its caller's frame is.
//!
//! Compilers keep the distance between the stack pointer and the frame known at
//! each instruction; what they would have written into `.eh_frame` can be had by
//! following pushes, pops and moves along all ways through the function.

use std::collections::VecDeque;

use observer_common::unwind::{FP, Rule, SP, cfa, place};

use super::instruction::{Effect, decode};
use crate::rule::{END, UNKNOWN};

/// Most instructions of one function.
const MAX_INSTRUCTIONS: usize = 1 << 16;

/// What is known at an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The frame's address minus the stack pointer.
    depth: Option<i32>,
    /// The frame's address minus the frame pointer, if that was set up.
    frame: Option<i32>,
    /// The frame's address minus where the caller's frame pointer is saved.
    saved: Option<i32>,
    /// Whether it has been taken back from there. Below the stack pointer it
    /// stays for the few instructions that the function still has.
    taken_back: bool,
    /// Whether the function says that it has no caller.
    outermost: bool,
}

/// What is known where a function begins: the return address has been pushed.
pub const BEGIN: State = State {
    depth: Some(8),
    frame: None,
    saved: None,
    taken_back: false,
    outermost: false,
};

impl State {
    fn rule(self) -> Rule {
        if self.outermost {
            return END;
        }
        // Where the frame pointer was set up as the ABI shows it, compilers keep it
        // to the end, and interpreters' code, which takes its arguments off the
        // stack of its caller, has nothing else. In other places it may be used
        // for something else later on.
        let by_frame = self.frame.is_some() && self.frame == self.saved && !self.taken_back;
        let (register, offset) = match (self.depth, self.frame) {
            (_, Some(frame)) if by_frame => (FP, frame),
            (Some(depth), _) => (SP, depth),
            (None, Some(frame)) => (FP, frame),
            (None, None) => return UNKNOWN,
        };
        let (fp, fp_offset) = match self.saved {
            Some(saved) => (place::AT_CFA, -saved),
            None => (place::SAME, 0),
        };
        Rule {
            cfa: cfa::REGISTER,
            register,
            places: Rule::places(place::AT_CFA, fp),
            flags: 0,
            cfa_offset: offset,
            ra_offset: -8,
            fp_offset,
        }
    }

    /// The state after an instruction.
    fn after(mut self, effect: Effect) -> Self {
        // Depths stay far below 2^31 in real code; what doesn't is unknown.
        let deeper = |depth: Option<i32>, by: i32| {
            let depth = depth?.checked_add(by)?;
            (0..=1 << 28).contains(&depth).then_some(depth)
        };
        match effect {
            Effect::Push => self.depth = deeper(self.depth, 8),
            Effect::PushFrame => {
                self.depth = deeper(self.depth, 8);
                if self.taken_back || self.saved.is_none() {
                    self.saved = self.depth;
                    self.taken_back = false;
                }
            }
            Effect::Pop => self.depth = deeper(self.depth, -8),
            Effect::PopFrame => {
                self.depth = deeper(self.depth, -8);
                self.frame = None;
                self.taken_back = true;
            }
            Effect::Move(by) => {
                self.depth = by.checked_neg().and_then(|by| deeper(self.depth, by));
            }
            Effect::SetFrame => self.frame = self.depth,
            Effect::FromFrame(offset) => {
                self.depth = offset.checked_neg().and_then(|by| deeper(self.frame, by));
            }
            Effect::Leave => {
                self.depth = deeper(self.frame, -8);
                self.frame = None;
                self.taken_back = true;
            }
            Effect::ClearFrame if self.saved.is_none() => self.outermost = true,
            Effect::Lost => self.depth = None,
            _ => {}
        }
        self
    }
}

/// A function's rows, and which other code it leads to.
#[derive(Debug, Default)]
pub struct Followed {
    /// Offset in the function and rule, by rising offset.
    pub rows: Vec<(usize, Rule)>,
    /// Addresses outside the function that it calls, jumps to or loads, and what
    /// is known if it gets there.
    pub others: Vec<(u64, State)>,
}

/// Follows the function whose instructions are `code`, at `address`; `begin` is
/// what is known at its first.
pub fn follow(code: &[u8], address: u64, begin: State) -> Followed {
    let mut walk = Walk {
        code,
        address,
        known: Known::new(code.len()),
        waiting: vec![(0, begin)],
        behind_calls: VecDeque::new(),
        indirect: None,
        returns: false,
        others: Vec::new(),
    };
    walk.all();
    // What is left is reached through a table of addresses, from a jump whose
    // target isn't known: as deep as there.
    while let Some(state) = walk.indirect
        && let Some(at) = walk.known.next_gap()
        && walk.known.len() < MAX_INSTRUCTIONS
    {
        walk.waiting.push((at, state));
        walk.all();
    }
    Followed {
        rows: walk.rows(),
        others: walk.others,
    }
}

/// What is known at each instruction.
struct Known {
    /// By offset: the index of the instruction that begins there + 1.
    at: Vec<u32>,
    /// Length of each instruction, and the state before it.
    list: Vec<(u8, State)>,
    /// Up to this offset all is known, or was told to be a gap.
    whole: usize,
    /// Whether that was told to be one.
    told: bool,
}

impl Known {
    fn new(length: usize) -> Self {
        Self {
            at: vec![0; length],
            list: Vec::new(),
            whole: 0,
            told: false,
        }
    }

    fn len(&self) -> usize {
        self.list.len()
    }

    fn entry(&self, at: usize) -> Option<&(u8, State)> {
        let index = self.at.get(at)?.checked_sub(1)?;
        self.list.get(index as usize)
    }

    fn get(&self, at: usize) -> Option<&State> {
        self.entry(at).map(|(_, state)| state)
    }

    fn insert(&mut self, at: usize, length: usize, state: State) {
        let Some(index) = self.at.get_mut(at) else {
            return;
        };
        // An instruction has 15 bytes at most.
        let entry = (length as u8, state);
        match index
            .checked_sub(1)
            .and_then(|known| self.list.get_mut(known as usize))
        {
            Some(known) => *known = entry,
            None => {
                self.list.push(entry);
                *index = self.list.len() as u32;
            }
        }
    }

    /// The first offset, from where this was asked last time on, that no
    /// instruction holds.
    fn next_gap(&mut self) -> Option<usize> {
        // What was told last time may not be an instruction at all.
        if self.entry(self.whole).is_none() && self.told {
            self.whole += 1;
        }
        while let Some((length, _)) = self.entry(self.whole) {
            self.whole += usize::from(*length);
        }
        self.told = true;
        (self.whole < self.at.len()).then_some(self.whole)
    }

    /// Offset, length and state of each instruction, by offset.
    fn all(&self) -> impl Iterator<Item = (usize, usize, &State)> {
        (0..self.at.len()).filter_map(|at| {
            let (length, state) = self.entry(at)?;
            Some((at, usize::from(*length), state))
        })
    }
}

struct Walk<'a> {
    code: &'a [u8],
    address: u64,
    known: Known,
    waiting: Vec<(usize, State)>,
    /// What follows calls. Some calls never return, and then another way leads
    /// to what lies behind, if anything does: that one counts.
    behind_calls: VecDeque<(usize, State)>,
    /// The state at the deepest jump to somewhere. (Those without a frame are
    /// mostly calls at the end of functions.)
    indirect: Option<State>,
    /// Whether the function goes on as others do after it cleared the frame
    /// pointer, so that wasn't what it is for.
    returns: bool,
    others: Vec<(u64, State)>,
}

impl Walk<'_> {
    /// Follows all ways that wait.
    fn all(&mut self) {
        while let Some((at, state)) = self.waiting.pop().or_else(|| self.behind_calls.pop_front()) {
            self.one_way(at, state);
        }
    }

    /// Follows one way until it ends or meets another. Where they don't agree
    /// on the depth, as when a loop pushes, only the frame pointer tells.
    fn one_way(&mut self, mut at: usize, mut state: State) {
        while self.known.len() < MAX_INSTRUCTIONS {
            if let Some(known) = self.known.get(at) {
                self.returns |= state.outermost && !known.outermost;
                if known.depth != state.depth {
                    state.depth = None;
                }
                let tells = state.frame.is_some() && state.frame == known.frame;
                if !tells || state.depth.is_some() || known.depth.is_none() {
                    return;
                }
            }
            let rest = self.code.get(at..).unwrap_or_default();
            let Some(instruction) = decode(rest) else {
                return;
            };
            self.known.insert(at, instruction.length, state);
            let next = at + instruction.length;
            let after = state.after(instruction.effect);
            match instruction.effect {
                Effect::Branch(to) => self.go(next, to, after),
                Effect::Jump(to) => return self.go(next, to, after),
                Effect::Address(to) => self.mention(next, to, BEGIN),
                Effect::Call(to) => {
                    self.mention(next, to, BEGIN);
                    return self.behind_calls.push_back((next, after));
                }
                Effect::JumpIndirect => {
                    let deepest = self.indirect.and_then(|known| known.depth);
                    if self.indirect.is_none() || deepest < state.depth {
                        self.indirect = Some(state);
                    }
                    return;
                }
                Effect::Return => {
                    self.returns |= state.outermost;
                    return;
                }
                Effect::End => return,
                _ => {}
            }
            (at, state) = (next, after);
        }
    }

    fn go(&mut self, from: usize, offset: i32, state: State) {
        let to = i64::try_from(from).map(|from| from + i64::from(offset));
        match to.map(usize::try_from) {
            Ok(Ok(to)) if to < self.code.len() => self.waiting.push((to, state)),
            _ => self.mention(from, offset, state),
        }
    }

    fn mention(&mut self, from: usize, offset: i32, state: State) {
        let from = self.address.wrapping_add(from as u64);
        let to = from.wrapping_add(i64::from(offset) as u64);
        let inside = to.wrapping_sub(self.address) < self.code.len() as u64;
        if !inside {
            self.others.push((to, state));
        }
    }

    fn rows(&self) -> Vec<(usize, Rule)> {
        let mut rows: Vec<(usize, Rule)> = Vec::new();
        let mut push = |at: usize, rule: Rule| {
            if rows.last().is_none_or(|(_, last)| *last != rule) {
                rows.push((at, rule));
            }
        };
        let mut end = 0;
        for (at, length, state) in self.known.all() {
            if at > end {
                push(end, UNKNOWN);
            }
            // What has no caller doesn't return.
            let outermost = state.outermost && !self.returns;
            push(
                at,
                State {
                    outermost,
                    ..*state
                }
                .rule(),
            );
            end = end.max(at + length);
        }
        if end < self.code.len() {
            push(end, UNKNOWN);
        }
        rows
    }
}
