//! Command lines of processes, for signals that are about single ones: spans and
//! profiles.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use observer_signals::attribute::SharedResource;
use observer_signals::outside::note_cut;
use observer_signals::{Attribute, Resource, Span, Value};

/// So many processes are remembered, the last that were looked at.
const MOST: usize = 2048;

/// Bytes of arguments of one process; what is behind them is left out.
const LIMIT: usize = 4096;

/// By OpenTelemetry's conventions.
const COMMAND_ARGS: &str = "process.command_args";

/// The arguments of processes that were looked at.
#[derive(Debug, Default)]
pub(super) struct Commands {
    known: HashMap<u32, Known>,
    /// In the order in which they came; some may be gone.
    order: VecDeque<u32>,
}

#[derive(Debug)]
struct Known {
    arguments: Arc<[String]>,
    /// A workload's resource, and the same with the arguments.
    resource: Option<(SharedResource, SharedResource)>,
}

impl Commands {
    /// What a process was started with.
    pub(super) fn learn(&mut self, process: u32, mut arguments: Vec<String>) {
        let mut left = LIMIT;
        let fits = arguments
            .iter()
            .take_while(|argument| {
                let fits = argument.len() <= left;
                left = left.saturating_sub(argument.len());
                fits
            })
            .count();
        if fits < arguments.len() {
            arguments.truncate(fits);
            arguments.push("…".to_owned());
            note_cut();
        }
        let known = Known {
            arguments: arguments.into(),
            resource: None,
        };
        if self.known.insert(process, known).is_none() {
            self.order.push_back(process);
        }
        while self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// A process runs another program, or is another one.
    pub(super) fn forget(&mut self, process: u32) {
        if let Some(known) = self.known.get_mut(&process) {
            known.arguments = Arc::new([]);
            known.resource = None;
        }
    }

    /// The arguments of a process, if they are known.
    pub(super) fn of(&self, process: u32) -> Option<Arc<[String]>> {
        let known = self.known.get(&process)?;
        (!known.arguments.is_empty()).then(|| Arc::clone(&known.arguments))
    }

    /// Makes a span's resource that of its process.
    pub(super) fn complete(&mut self, span: &mut Span) {
        let mut attributes = span.attributes.iter();
        let Some(Value::Int(process)) = attributes
            .find(|attribute| attribute.key == "process.pid")
            .map(|attribute| &attribute.value)
        else {
            return;
        };
        let known = u32::try_from(*process).ok();
        let known = known.and_then(|process| self.known.get_mut(&process));
        let Some(known) = known.filter(|known| !known.arguments.is_empty()) else {
            return;
        };
        let its = match &known.resource {
            Some((of, its)) if Arc::ptr_eq(of, &span.resource) => Arc::clone(its),
            _ => {
                let mut attributes = span.resource.attributes.clone();
                let arguments = Value::Strings(known.arguments.to_vec());
                attributes.push(Attribute::new(COMMAND_ARGS, arguments));
                let its = Arc::new(Resource { attributes });
                known.resource = Some((Arc::clone(&span.resource), Arc::clone(&its)));
                its
            }
        };
        span.resource = its;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(commands: &Commands, process: u32) -> Vec<String> {
        commands.of(process).map_or(Vec::new(), |its| its.to_vec())
    }

    /// Checks that many arguments are cut, with a mark, and that only the last processes
    /// are remembered.
    #[test]
    fn what_is_remembered_is_bounded() {
        let mut commands = Commands::default();
        commands.learn(1, vec!["a".repeat(LIMIT), "b".to_owned()]);
        assert_eq!(arguments(&commands, 1), ["a".repeat(LIMIT), "…".to_owned()]);
        commands.learn(1, vec!["c".to_owned()]);
        assert_eq!(arguments(&commands, 1), ["c"]);
        commands.forget(1);
        assert!(arguments(&commands, 1).is_empty());
        for process in 0..5000 {
            commands.learn(process, vec![process.to_string()]);
        }
        assert_eq!(commands.known.len(), MOST);
        assert_eq!(arguments(&commands, 4999), ["4999"]);
    }
}
