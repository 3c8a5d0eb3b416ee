//! Where what is needed lies in CPython's structures.
//!
//! From 3.13 on the interpreter says it itself, in `struct _Py_DebugOffsets` at the start
//! of `_PyRuntime` (Include/internal/pycore_runtime.h of 3.13; PEP 768). 3.11 and 3.12 are
//! tables, made by `offsetof` from the headers of 3.11.2, 3.11.7 and 3.12.1 (pycore_interp.h,
//! pycore_runtime.h, pycore_frame.h, cpython/pystate.h, cpython/code.h,
//! cpython/unicodeobject.h); their patch releases keep them.

use super::version::Version;
use crate::memory::{Memory, Unread};

/// Offsets, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Offsets {
    /// Whose.
    pub version: Version,
    /// In the runtime, the interpreters and the states of threads.
    pub state: StateOffsets,
    /// In frames.
    pub frame: FrameOffsets,
    /// In code objects.
    pub code: CodeOffsets,
    /// In strings.
    pub string: StrOffsets,
}

/// In `_PyRuntimeState`, `PyInterpreterState` and `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateOffsets {
    /// Of the runtime: the newest interpreter.
    pub interpreters_head: u64,
    /// Of an interpreter: an older one.
    pub interpreter_next: u64,
    /// Its number; the main one's is 0.
    pub interpreter_id: u64,
    /// Its newest thread's state.
    pub threads_head: u64,
    /// `sys.modules`.
    pub modules: u64,
    /// Of a thread's state: an older one.
    pub thread_next: u64,
    /// Its interpreter.
    pub thread_interpreter: u64,
    /// The asyncio loop that it runs.
    pub running_loop: RunningLoopPlace,
    /// What the kernel calls the thread, in the process's own PID namespace.
    pub native_thread_id: u64,
    /// The innermost frame, or what leads to it.
    pub current_frame: u64,
    /// Since which `current_frame` is the innermost frame itself: else it is a `_PyCFrame`,
    /// with the frame at this offset.
    pub cframe_current: Option<u64>,
}

/// Where a thread's state has the asyncio loop that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunningLoopPlace {
    /// In a `PyRunningLoopHolder` in its dict, which is at this offset (3.11).
    Holder(u64),
    /// In its dict, which is at this offset (3.12).
    Dict(u64),
    /// At this offset (3.13).
    State(u64),
}

/// In `_PyInterpreterFrame`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameOffsets {
    /// Its caller.
    pub previous: u64,
    /// Its code object.
    pub code: u64,
    /// The instruction (its last or its next).
    pub instruction: u64,
    /// Who owns it, a `char` (`enum _frameowner`).
    pub owner: u64,
    /// `is_entry`, 3.11's mark of a frame that C called. Later C leaves a frame of its own
    /// before it, of owner 3 (`FRAME_OWNED_BY_CSTACK`).
    pub is_entry: Option<u64>,
}

/// In `PyCodeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeOffsets {
    /// `co_filename`.
    pub file: u64,
    /// `co_name`.
    pub name: u64,
    /// `co_qualname`.
    pub qualified_name: u64,
    /// `co_linetable`.
    pub line_table: u64,
    /// `co_firstlineno`, an `int`.
    pub first_line: u64,
    /// The instructions.
    pub instructions: u64,
}

/// In `PyASCIIObject` and its kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StrOffsets {
    /// `sizeof(PyASCIIObject)`: where the text is, if it is ASCII.
    pub ascii: u64,
    /// `sizeof(PyCompactUnicodeObject)`: where it is otherwise.
    pub compact: u64,
}

const V3_11: Offsets = Offsets {
    version: Version::UNKNOWN,
    state: StateOffsets {
        interpreters_head: 40,
        interpreter_next: 0,
        interpreter_id: 48,
        threads_head: 16,
        modules: 888,
        thread_next: 8,
        thread_interpreter: 16,
        running_loop: RunningLoopPlace::Holder(128),
        native_thread_id: 160,
        current_frame: 56,
        cframe_current: Some(8),
    },
    frame: FrameOffsets {
        previous: 48,
        code: 32,
        instruction: 56,
        owner: 69,
        is_entry: Some(68),
    },
    code: CodeOffsets {
        file: 112,
        name: 120,
        qualified_name: 128,
        line_table: 136,
        first_line: 72,
        instructions: 184,
    },
    string: StrOffsets {
        ascii: 48,
        compact: 72,
    },
};

const V3_12: Offsets = Offsets {
    version: Version::UNKNOWN,
    state: StateOffsets {
        interpreters_head: 40,
        interpreter_next: 0,
        interpreter_id: 8,
        threads_head: 72,
        modules: 944,
        thread_next: 8,
        thread_interpreter: 16,
        running_loop: RunningLoopPlace::Dict(112),
        native_thread_id: 144,
        current_frame: 56,
        cframe_current: Some(0),
    },
    frame: FrameOffsets {
        previous: 8,
        code: 0,
        instruction: 56,
        owner: 70,
        is_entry: None,
    },
    code: CodeOffsets {
        file: 112,
        name: 120,
        qualified_name: 128,
        line_table: 136,
        first_line: 68,
        instructions: 192,
    },
    string: StrOffsets {
        ascii: 40,
        compact: 56,
    },
};

/// What `_PyRuntime` begins with since 3.13.
const COOKIE: &[u8; 8] = b"xdebugpy";
/// Bytes of 3.13's `struct _Py_DebugOffsets` that are read: up to `unicode_object`.
const PUBLISHED: usize = 71 * 8;
/// Larger than any structure that is described.
const MAX_OFFSET: u64 = 1 << 22;

impl Offsets {
    /// Those of the runtime at `runtime`, whose `Py_Version` says `version`.
    ///
    /// # Errors
    /// [`Unread::Version`] and [`Unread::Build`] if they aren't known, or what of the
    /// published ones makes no sense.
    pub fn read(memory: &impl Memory, runtime: u64, version: Version) -> Result<Self, Unread> {
        if !version.is_settled() {
            return Err(Unread::Build("pre-release"));
        }
        let known = match version.parts() {
            [3, 11, _] => V3_11,
            [3, 12, _] => V3_12,
            [3, 13, _] => published(&memory.array::<PUBLISHED>(runtime, 0)?, version)?,
            version => return Err(Unread::Version(version)),
        };
        Ok(Self { version, ..known })
    }
}

/// Those that 3.13 publishes; fields by their number in the structure.
fn published(bytes: &[u8; PUBLISHED], version: Version) -> Result<Offsets, Unread> {
    const WHAT: Unread = Unread::Misfit("_Py_DebugOffsets");
    let (words, _) = bytes.as_chunks::<8>();
    if words.first() != Some(COOKIE) {
        return Err(WHAT);
    }
    let word = |number: usize| words.get(number).map_or(0, |w| u64::from_le_bytes(*w));
    if word(1) != u64::from(version.0) {
        return Err(WHAT);
    }
    if word(2) != 0 {
        return Err(Unread::Build("free-threaded"));
    }
    let at = |number: usize| Some(word(number)).filter(|w| *w < MAX_OFFSET).ok_or(WHAT);
    let ascii = at(70)?;
    Ok(Offsets {
        version,
        state: StateOffsets {
            interpreters_head: at(5)?,
            interpreter_id: at(7)?,
            interpreter_next: at(8)?,
            threads_head: at(9)?,
            modules: at(11)?,
            thread_next: at(21)?,
            thread_interpreter: at(22)?,
            current_frame: at(23)?,
            // `_PyThreadStateImpl.asyncio_running_loop` (internal/pycore_tstate.h), the first
            // behind the `PyThreadState` whose size is published.
            running_loop: RunningLoopPlace::State(at(19)?),
            native_thread_id: at(25)?,
            cframe_current: None,
        },
        frame: FrameOffsets {
            previous: at(29)?,
            code: at(30)?,
            instruction: at(31)?,
            owner: at(33)?,
            is_entry: None,
        },
        code: CodeOffsets {
            file: at(35)?,
            name: at(36)?,
            qualified_name: at(37)?,
            line_table: at(38)?,
            first_line: at(39)?,
            instructions: at(43)?,
        },
        string: StrOffsets {
            ascii,
            compact: ascii + 16,
        },
    })
}
