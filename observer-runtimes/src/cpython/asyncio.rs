//! asyncio: which threads run a loop, and where is said which task a loop runs.
//!
//! `_asyncio` keeps the running task of each loop in a dict, `_current_tasks`, which it also
//! has as an attribute (Modules/_asynciomodule.c, up to 3.13). Which loop a thread runs is
//! in its state, or in a dict that this has for whoever wants to keep something there.

use super::interpreter::Runtime;
use super::objects::Objects;
use super::offsets::RunningLoopPlace;
use crate::memory::{Memory, Unread};

/// The module.
const MODULE: &str = "_asyncio";
/// Its dict from loops to tasks, and the class of these.
const CURRENT_TASKS: &str = "_current_tasks";
const TASK: &str = "Task";
/// What a thread's dict has its loop under.
const RUNNING: &str = "__asyncio_running_event_loop__";
/// `PyModuleObject.md_dict` (Include/internal/pycore_moduleobject.h).
const MODULE_DICT: u64 = 16;
/// `PyRunningLoopHolder.rl_loop`, 3.11.
const HOLDER_LOOP: u64 = 16;

/// Threads of an interpreter that are looked at.
const MAX_THREADS: usize = 4096;

/// A thread that runs a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningLoop {
    /// The thread's number in its process's own PID namespace.
    pub native_thread_id: u32,
    /// Address of the loop.
    pub event_loop: u64,
}

/// What is known of asyncio in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asyncio {
    /// Address of the dict from loops to the tasks that they run.
    pub current_tasks: u64,
    /// Address of the class of tasks.
    pub task_class: u64,
    /// Its loops that run.
    pub loops: Vec<RunningLoop>,
}

impl Runtime {
    /// Looks for it in the main interpreter; `None` if it isn't imported.
    ///
    /// # Errors
    /// What leads there can't be read, or isn't known of this version.
    pub fn asyncio(&self, memory: &impl Memory) -> Result<Option<Asyncio>, Unread> {
        let objects = self.objects(memory);
        let Some(modules) = self.modules(memory)? else {
            return Ok(None);
        };
        let Some(module) = objects.get(modules, MODULE)? else {
            return Ok(None);
        };
        let module = memory.u64(module, MODULE_DICT)?;
        let current_tasks = objects.get(module, CURRENT_TASKS)?;
        let task_class = objects.get(module, TASK)?;
        let Some((current_tasks, task_class)) = current_tasks.zip(task_class) else {
            return Ok(None);
        };
        Ok(Some(Asyncio {
            current_tasks,
            task_class,
            loops: self.running_loops(memory, &objects)?,
        }))
    }

    fn running_loops<M: Memory>(
        &self,
        memory: &M,
        objects: &Objects<'_, M>,
    ) -> Result<Vec<RunningLoop>, Unread> {
        let state = &self.offsets.state;
        let mut loops = Vec::new();
        let Some(interpreter) = self.main_interpreter(memory)? else {
            return Ok(loops);
        };
        let mut thread = memory.u64(interpreter, state.threads_head)?;
        for _ in 0..MAX_THREADS {
            if thread == 0 {
                return Ok(loops);
            }
            let event_loop = match state.running_loop {
                RunningLoopPlace::State(offset) => memory.u64(thread, offset)?,
                RunningLoopPlace::Dict(offset) => in_dict(objects, thread, offset)?,
                RunningLoopPlace::Holder(offset) => match in_dict(objects, thread, offset)? {
                    0 => 0,
                    holder => memory.u64(holder, HOLDER_LOOP)?,
                },
            };
            if event_loop != 0 {
                let id = memory.u64(thread, state.native_thread_id)?;
                let native_thread_id = u32::try_from(id).map_err(|_| Unread::Misfit("a thread"))?;
                loops.push(RunningLoop {
                    native_thread_id,
                    event_loop,
                });
            }
            thread = memory.u64(thread, state.thread_next)?;
        }
        Err(Unread::TooLong("the list of threads"))
    }
}

/// What the dict of a thread's state has of the running loop; 0 = nothing.
fn in_dict<M: Memory>(objects: &Objects<'_, M>, thread: u64, offset: u64) -> Result<u64, Unread> {
    match objects.memory.u64(thread, offset)? {
        0 => Ok(0),
        dict => Ok(objects.get(dict, RUNNING)?.unwrap_or(0)),
    }
}
