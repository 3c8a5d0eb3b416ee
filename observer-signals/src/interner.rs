//! Builds a [`Profile`]: each string, mapping, function, frame, stack and
//! resource once, entry 0 of every table the zero value.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use observer_common::unwind::Outcome;

use crate::Profile;
use crate::attribute::SharedResource;
use crate::outside::{LONGEST, bounded};
use crate::profile::{
    Frame, FrameId, Function, FunctionId, Mapping, MappingId, Sample, StackId, StringId,
};
use crate::wait::Waited;

/// A [`Profile`] in the making.
#[derive(Debug)]
pub struct Interner {
    profile: Profile,
    strings: Ids,
    mappings: Ids,
    functions: Ids,
    frames: Ids,
    stacks: Ids,
    samples: Ids,
    outcomes: BTreeMap<Outcome, u64>,
}

/// Where in a table an entry is, found by what it is: only the table itself has
/// the entries.
#[derive(Debug, Default)]
struct Ids {
    by_hash: HashTable<u32>,
    hasher: RandomState,
}

impl Ids {
    /// Index of `entry` in `table`, where it is put if it isn't there yet.
    fn intern<T: ?Sized + Hash + Eq + ToOwned>(
        &mut self,
        table: &mut Vec<T::Owned>,
        entry: Cow<'_, T>,
    ) -> u32 {
        let hasher = &self.hasher;
        let known = |id: &u32| table.get(*id as usize).map(Borrow::borrow);
        let found = self.by_hash.entry(
            hasher.hash_one(Some(&*entry)),
            |id| known(id) == Some(&*entry),
            |id| hasher.hash_one(known(id)),
        );
        match found {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(room) => {
                let id = table.len() as u32;
                room.insert(id);
                table.push(entry.into_owned());
                id
            }
        }
    }

    /// Adds `sample` to `samples`, or its value to that of its like.
    fn add(&mut self, samples: &mut Vec<Sample>, sample: Sample) {
        let hasher = &self.hasher;
        let known = |at: &u32| samples.get(*at as usize).map(key);
        let found = self.by_hash.entry(
            hasher.hash_one(Some(key(&sample))),
            |at| known(at) == Some(key(&sample)),
            |at| hasher.hash_one(known(at)),
        );
        let known = match &found {
            Entry::Occupied(known) => samples.get_mut(*known.get() as usize),
            Entry::Vacant(_) => None,
        };
        if let Some(known) = known {
            known.value += sample.value;
        } else {
            found.insert(samples.len() as u32);
            samples.push(sample);
        }
    }
}

/// What makes two samples one: all of [`Sample`] but its value.
type SampleKey = (
    StackId,
    u32,
    u32,
    StringId,
    StringId,
    u32,
    Option<Waited>,
    Option<([u8; 16], [u8; 8])>,
    StringId,
);

fn key(sample: &Sample) -> SampleKey {
    (
        sample.stack,
        sample.pid,
        sample.tid,
        sample.thread,
        sample.process,
        sample.resource,
        sample.wait,
        sample.link,
        sample.route,
    )
}

impl Interner {
    /// An interner whose profile takes kind, time and period from `header`;
    /// tables that are already in `header` are dropped.
    pub fn new(header: Profile) -> Self {
        let mut interner = Self {
            profile: Profile {
                string_table: Vec::new(),
                mapping_table: Vec::new(),
                function_table: Vec::new(),
                frame_table: Vec::new(),
                stack_table: Vec::new(),
                resources: Vec::new(),
                samples: Vec::new(),
                ..header
            },
            strings: Ids::default(),
            mappings: Ids::default(),
            functions: Ids::default(),
            frames: Ids::default(),
            stacks: Ids::default(),
            samples: Ids::default(),
            outcomes: BTreeMap::new(),
        };
        // The zero values come first and therefore get id 0.
        interner.string("");
        interner.mapping(Mapping::default());
        interner.function(Function::default());
        interner.frame(Frame::default());
        interner.stack(Vec::new());
        interner
    }

    /// The id of a string; what is longer than [`LONGEST`] is cut.
    pub fn string(&mut self, text: &str) -> StringId {
        let table = &mut self.profile.string_table;
        self.strings.intern(table, bounded(text, LONGEST))
    }

    /// The name of a frame's (innermost) function, `""` without one.
    pub fn name_of(&self, frame: &Frame) -> &str {
        let function = frame.lines.first().map_or(0, |line| line.function);
        let function = self.profile.function_table.get(function as usize);
        function.map_or("", |f| self.profile.text(f.name))
    }

    /// The names of a frame's functions, those that were inlined first; `""` where there
    /// is none.
    pub fn names_of(&self, frame: &Frame) -> impl Iterator<Item = &str> + Clone {
        let lines = frame.lines.iter();
        lines.map(|line| {
            let function = self.profile.function_table.get(line.function as usize);
            function.map_or("", |f| self.profile.text(f.name))
        })
    }

    /// The id of a mapping.
    pub fn mapping(&mut self, mapping: Mapping) -> MappingId {
        let table = &mut self.profile.mapping_table;
        self.mappings.intern::<Mapping>(table, Cow::Owned(mapping))
    }

    /// The id of a function.
    pub fn function(&mut self, function: Function) -> FunctionId {
        let table = &mut self.profile.function_table;
        self.functions
            .intern::<Function>(table, Cow::Owned(function))
    }

    /// The id of a frame.
    pub fn frame(&mut self, frame: Frame) -> FrameId {
        let table = &mut self.profile.frame_table;
        self.frames.intern::<Frame>(table, Cow::Owned(frame))
    }

    /// The id of a stack, leaf first.
    pub fn stack(&mut self, frames: Vec<FrameId>) -> StackId {
        let table = &mut self.profile.stack_table;
        self.stacks.intern::<[FrameId]>(table, Cow::Owned(frames))
    }

    /// The index of a resource.
    pub fn resource(&mut self, resource: &SharedResource) -> u32 {
        let known = self.profile.resources.iter().position(|r| r == resource);
        let index = known.unwrap_or_else(|| {
            self.profile.resources.push(resource.clone());
            self.profile.resources.len() - 1
        });
        index as u32
    }

    /// Adds a sample; one that differs only in its value adds to it.
    pub fn sample(&mut self, sample: Sample) {
        self.samples.add(&mut self.profile.samples, sample);
    }

    /// Counts what unwinding came to, for a sample of that value.
    pub fn outcome(&mut self, outcome: Outcome, value: u64) {
        if value > 0 {
            *self.outcomes.entry(outcome).or_default() += value;
        }
    }

    /// The finished profile.
    pub fn finish(self) -> Profile {
        Profile {
            outcomes: self.outcomes.into_iter().collect(),
            ..self.profile
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that entry 0 of every table is the zero value, that equal
    /// entries share an id, and that equal samples add up.
    #[test]
    fn tables() {
        let mut i = Interner::new(Profile::default());
        let name = i.string("main");
        assert_eq!((name, i.string("main"), i.string("")), (1, 1, 0));
        let function = i.function(Function {
            name,
            ..Function::default()
        });
        assert_eq!(function, 1);
        let frame = i.frame(Frame {
            address: 7,
            ..Frame::default()
        });
        let stack = i.stack(vec![frame]);
        let resource = i.resource(&SharedResource::default());
        let sample = Sample {
            stack,
            pid: 1,
            tid: 2,
            thread: name,
            process: name,
            resource,
            wait: None,
            value: 3,
            link: None,
            route: 0,
        };
        i.sample(sample.clone());
        i.sample(sample.clone());
        i.sample(Sample { tid: 9, ..sample });
        i.outcome(Outcome::Truncated, 3);
        i.outcome(Outcome::Complete, 5);
        i.outcome(Outcome::Complete, 1);
        i.outcome(Outcome::ReadFault, 0);
        let p = i.finish();
        assert_eq!(p.string_table[0], "");
        assert_eq!(p.mapping_table[0], Mapping::default());
        assert_eq!(p.function_table[0], Function::default());
        assert_eq!(p.frame_table[0], Frame::default());
        assert_eq!(p.stack_table[0], Vec::<FrameId>::new());
        let values: Vec<u64> = p.samples.iter().map(|s| s.value).collect();
        assert_eq!(values, [6, 3]);
        assert_eq!(p.total(), 9);
        assert_eq!(
            p.outcomes,
            [(Outcome::Complete, 6), (Outcome::Truncated, 3)]
        );
    }

    /// Checks ids of random entries against a list that is searched from its
    /// beginning: the first of equals decides, however the tables grew.
    #[test]
    fn ids_are_those_of_a_search() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut i = Interner::new(Profile::default());
        let mut strings = vec![String::new()];
        let mut stacks: Vec<Vec<FrameId>> = vec![Vec::new()];
        for _ in 0..5000 {
            let text = "ab".repeat(random.usize(..20)) + &random.u32(..60).to_string();
            let stack: Vec<FrameId> = (0..random.usize(..4)).map(|_| random.u32(..6)).collect();
            let known = strings.iter().position(|s| *s == text);
            let expected = known.unwrap_or(strings.len());
            if known.is_none() {
                strings.push(text.clone());
            }
            assert_eq!(i.string(&text) as usize, expected, "{text}");
            let known = stacks.iter().position(|s| *s == stack);
            let expected = known.unwrap_or(stacks.len());
            if known.is_none() {
                stacks.push(stack.clone());
            }
            assert_eq!(i.stack(stack) as usize, expected);
        }
        let p = i.finish();
        assert_eq!(p.string_table, strings);
        assert_eq!(p.stack_table, stacks);
    }
}
