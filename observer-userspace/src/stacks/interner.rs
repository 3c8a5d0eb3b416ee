//! Builds a [`Profile`]: each string, mapping, function, frame, stack and
//! resource once, entry 0 of every table the zero value.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use observer_common::unwind::Outcome;

use crate::signals::Profile;
use crate::signals::attribute::SharedResource;
use crate::signals::profile::{
    Frame, FrameId, Function, FunctionId, Mapping, MappingId, Sample, StackId, StringId,
};
use crate::signals::wait::Waited;

/// A [`Profile`] in the making.
#[derive(Debug)]
pub struct Interner {
    profile: Profile,
    strings: HashMap<String, StringId>,
    mappings: HashMap<Mapping, MappingId>,
    functions: HashMap<Function, FunctionId>,
    frames: HashMap<Frame, FrameId>,
    stacks: HashMap<Vec<FrameId>, StackId>,
    samples: HashMap<SampleKey, usize>,
    outcomes: BTreeMap<Outcome, u64>,
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

/// Index of `entry` in `table`, where it is put if it isn't there yet.
fn intern<T: Clone + Eq + Hash>(table: &mut Vec<T>, ids: &mut HashMap<T, u32>, entry: T) -> u32 {
    if let Some(&id) = ids.get(&entry) {
        return id;
    }
    let id = table.len() as u32;
    table.push(entry.clone());
    ids.insert(entry, id);
    id
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
            strings: HashMap::new(),
            mappings: HashMap::new(),
            functions: HashMap::new(),
            frames: HashMap::new(),
            stacks: HashMap::new(),
            samples: HashMap::new(),
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

    /// The id of a string.
    pub fn string(&mut self, text: &str) -> StringId {
        if let Some(&id) = self.strings.get(text) {
            return id;
        }
        intern(
            &mut self.profile.string_table,
            &mut self.strings,
            text.to_owned(),
        )
    }

    /// The name of a frame's (innermost) function, `""` without one.
    pub fn name_of(&self, frame: &Frame) -> &str {
        let function = frame.lines.first().map_or(0, |line| line.function);
        let function = self.profile.function_table.get(function as usize);
        function.map_or("", |f| self.profile.text(f.name))
    }

    /// The id of a mapping.
    pub fn mapping(&mut self, mapping: Mapping) -> MappingId {
        intern(&mut self.profile.mapping_table, &mut self.mappings, mapping)
    }

    /// The id of a function.
    pub fn function(&mut self, function: Function) -> FunctionId {
        intern(
            &mut self.profile.function_table,
            &mut self.functions,
            function,
        )
    }

    /// The id of a frame.
    pub fn frame(&mut self, frame: Frame) -> FrameId {
        intern(&mut self.profile.frame_table, &mut self.frames, frame)
    }

    /// The id of a stack, leaf first.
    pub fn stack(&mut self, frames: Vec<FrameId>) -> StackId {
        intern(&mut self.profile.stack_table, &mut self.stacks, frames)
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
        let key = (
            sample.stack,
            sample.pid,
            sample.tid,
            sample.thread,
            sample.process,
            sample.resource,
            sample.wait,
            sample.link,
            sample.route,
        );
        match self.samples.get(&key) {
            Some(&at) => self.profile.samples[at].value += sample.value,
            None => {
                self.samples.insert(key, self.profile.samples.len());
                self.profile.samples.push(sample);
            }
        }
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
}
