//! Which files and processes have a CPython.

use std::fs::File;
use std::rc::Rc;

use observer_common::cpython::{CODE_BEGIN, CODE_WORDS, FRAME_WORDS, Layout, NONE};
use observer_runtimes::Unread;
use observer_runtimes::cpython::{Runtime, RuntimeSymbols, Version};

use crate::foreign::{self, FileId, ProcessMemory, Subject};

/// Where the interpreter lies in a file, if it has one.
pub(super) fn symbols(id: FileId, file: File) -> Option<RuntimeSymbols> {
    let found = foreign::ask(id.subject(), foreign::A_WHILE, move |_| {
        RuntimeSymbols::find(&file)
    });
    found.ok()?.ok().flatten()
}

/// The interpreter of process `pid`, whose file lies `bias` bytes above its own addresses.
///
/// # Errors
/// Why its functions will have no names.
pub(in crate::stacks) fn runtime(
    pid: u32,
    symbols: RuntimeSymbols,
    bias: u64,
) -> Result<Runtime, Unread> {
    let runtime = foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
        Runtime::read(&ProcessMemory::of(foreign, pid), &symbols, bias)
    });
    runtime.unwrap_or(Err(Unread::NotThere(
        symbols.runtime.address.wrapping_add(bias),
    )))
}

/// What the kernel half needs to know of it; `None` if its frames are larger than what is
/// read of them.
pub(in crate::stacks) fn layout(runtime: &Runtime, list: u32) -> Option<Layout> {
    let (state, frame) = (&runtime.offsets.state, &runtime.offsets.frame);
    let code = &runtime.offsets.code;
    let small = |offset: u64| u32::try_from(offset).ok();
    let word =
        |offset: u64| small(offset).filter(|at| at % 8 == 0 && (*at as usize) < FRAME_WORDS * 8);
    let byte = |offset: u64| small(offset).filter(|at| (*at as usize) < FRAME_WORDS * 8);
    let part = |offset: u64| {
        let end = CODE_BEGIN + CODE_WORDS as u32 * 8;
        small(offset).filter(|at| (CODE_BEGIN..end).contains(at))
    };
    let optional = |offset: Option<u64>| offset.map_or(Some(NONE), small);
    Some(Layout {
        interpreters: runtime.address.checked_add(state.interpreters_head)?,
        list,
        interpreter_next: small(state.interpreter_next)?,
        threads_head: small(state.threads_head)?,
        thread_next: small(state.thread_next)?,
        native_thread_id: small(state.native_thread_id)?,
        current_frame: small(state.current_frame)?,
        cframe_current: optional(state.cframe_current)?,
        previous: word(frame.previous)?,
        code: word(frame.code)?,
        instruction: word(frame.instruction)?,
        owner: byte(frame.owner)?,
        is_entry: match frame.is_entry {
            Some(at) => byte(at)?,
            None => NONE,
        },
        instructions: small(code.instructions)?,
        file: part(code.file)?,
        qualified_name: part(code.qualified_name)?,
        line_table: part(code.line_table)?,
        first_line: part(code.first_line)?,
        padding: 0,
    })
}

/// Says why Python functions of those who run a file have no names. False if it isn't the
/// file's fault.
pub(in crate::stacks) fn say_why(pid: u32, path: &Rc<str>, why: Unread) -> bool {
    let why = match why {
        Unread::NotThere(_) => {
            // Most often it has just ended.
            tracing::debug!("CPython of process {pid} ({path}): {why}");
            return false;
        }
        Unread::Version([0, ..]) => format!("{} is not supported", Version::UNKNOWN),
        why => why.to_string(),
    };
    tracing::warn!(
        "Python functions of process {pid} and others that run {path} have no names: {why}"
    );
    true
}
