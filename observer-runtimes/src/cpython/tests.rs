//! Memory made up by hand, after the headers of CPython.

use super::*;
use crate::memory::{Memory as _, Recorded, Unread};

const RUNTIME: u64 = 0x1000;
const VERSION: u64 = 0x8000;
const INTERPRETER: u64 = 0x2_0000;
const CLASS: u64 = 0x9000;
const DICT: u64 = 0x3_0000;
const KEYS: u64 = 0x4_0000;
const OBJECT: u64 = 0x5_0000;

fn symbols() -> RuntimeSymbols {
    let place = |address| Place { address, size: 8 };
    RuntimeSymbols {
        runtime: place(RUNTIME),
        version: Some(place(VERSION)),
        eval: None,
    }
}

/// Numbers, one after the other.
fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Types: `bytes`, `str`, `dict`, in distances of 512.
fn class(number: u64) -> u64 {
    CLASS + number * 512
}

/// A runtime 3.11 whose main interpreter is behind another, with `sys.modules`.
fn memory() -> Recorded {
    let mut memory = Recorded::default();
    memory.put(RUNTIME, vec![0; 64]);
    memory.write(RUNTIME + 40, &INTERPRETER.to_le_bytes());
    memory.put(VERSION, words(&[0x030b_02f0]));
    let main = INTERPRETER + 0x1000;
    for (at, number, next) in [(INTERPRETER, 1_u64, main), (main, 0, 0)] {
        memory.put(at, vec![0; 1024]);
        memory.write(at, &next.to_le_bytes());
        memory.write(at + 48, &number.to_le_bytes());
    }
    memory.write(main + 888, &DICT.to_le_bytes());
    for (number, flag) in [(0, 27), (1, 28), (2, 29)] {
        memory.put(class(number), vec![0; 256]);
        memory.write(class(number) + 168, &(1_u64 << flag).to_le_bytes());
    }
    memory
}

/// A `str` of these bytes, of `kind` bytes a code point.
fn text(memory: &mut Recorded, at: u64, kind: u32, ascii: bool, bytes: &[u8]) {
    let length = bytes.len() as u64 / u64::from(kind.max(1));
    let state = kind << 2 | 1 << 5 | u32::from(ascii) << 6;
    let mut object = words(&[1, class(1), length, 0, state.into(), 0]);
    object.resize(if ascii { 48 } else { 72 }, 0);
    object.extend(bytes);
    memory.put(at, object);
}

fn dict(memory: &mut Recorded, kind: u8, entries: &[u64], count: u64, values: u64) {
    memory.put(DICT, words(&[1, class(2), count, 0, KEYS, values]));
    // Eight indices of a byte each.
    let mut keys = words(&[1, 0, 0, count]);
    keys[8..11].copy_from_slice(&[3, 3, kind]);
    keys.extend([0xff; 8]);
    keys.extend(words(entries));
    memory.put(KEYS, keys);
}

/// Checks the way from the runtime to a module by its name, for dicts of each kind, with
/// an entry that was taken out.
#[test]
fn modules_are_found() {
    let mut memory = memory();
    let runtime = Runtime::read(&memory, &symbols(), 0).expect("a runtime");
    assert_eq!(runtime.offsets.version.to_string(), "CPython 3.11.2");
    let main = runtime.main_interpreter(&memory);
    assert_eq!(main, Ok(Some(INTERPRETER + 0x1000)));
    assert_eq!(runtime.modules(&memory), Ok(Some(DICT)));
    let names = [OBJECT, OBJECT + 0x100, OBJECT + 0x200];
    for (at, name) in names.into_iter().zip(["sys", "asyncio", "asynciq"]) {
        text(&mut memory, at, 1, true, name.as_bytes());
    }
    let [sys, asyncio, other] = names;
    let values = words(&[71, 72, 0, 73]);
    memory.put(0x7_0000, values);
    let kinds: [(u8, &[u64]); 3] = [
        (0, &[1, sys, 71, 2, other, 72, 3, 0, 0, 4, asyncio, 73]),
        (1, &[sys, 71, other, 72, 0, 0, asyncio, 73]),
        (2, &[sys, 0, other, 0, 0, 0, asyncio, 0]),
    ];
    for (kind, entries) in kinds {
        dict(&mut memory, kind, entries, 4, 0x7_0000);
        let objects = runtime.objects(&memory);
        let all = objects.dict(DICT).expect("a dict");
        assert_eq!(all, [(sys, 71), (other, 72), (asyncio, 73)], "kind {kind}");
        assert_eq!(objects.get(DICT, "asyncio"), Ok(Some(73)));
        assert_eq!(objects.get(DICT, "json"), Ok(None));
    }
}

/// Checks strings of one, two and four bytes a character.
#[test]
fn strings_are_read() {
    let mut memory = memory();
    let runtime = Runtime::read(&memory, &symbols(), 0).expect("a runtime");
    text(&mut memory, OBJECT, 1, true, b"plain");
    text(&mut memory, OBJECT + 0x100, 1, false, b"gr\xfcn");
    let wide: Vec<u8> = "Ωμέγα".encode_utf16().flat_map(u16::to_le_bytes).collect();
    text(&mut memory, OBJECT + 0x200, 2, false, &wide);
    let points: Vec<u8> = "a🐍"
        .chars()
        .flat_map(|c| u32::from(c).to_le_bytes())
        .collect();
    text(&mut memory, OBJECT + 0x300, 4, false, &points);
    text(
        &mut memory,
        OBJECT + 0x400,
        2,
        false,
        &[0x80, 0xdc, b'a', 0],
    );
    let objects = runtime.objects(&memory);
    let expected = ["plain", "grün", "Ωμέγα", "a🐍", "\u{fffd}a"];
    for (number, expected) in expected.into_iter().enumerate() {
        let read = objects.string(OBJECT + 0x100 * number as u64);
        assert_eq!(read.as_deref(), Ok(expected));
    }
}

/// Checks that what makes no sense ends with its name, and soon: wrong types, lengths of
/// terabytes, lists in a circle, memory that isn't there.
#[test]
fn hostile_memory_is_named() {
    let mut memory = memory();
    let runtime = Runtime::read(&memory, &symbols(), 0).expect("a runtime");
    let read = |memory: &Recorded, at| runtime.objects(memory).string(at);
    text(&mut memory, OBJECT, 1, true, b"x");
    memory.write(OBJECT + 16, &(1_u64 << 45).to_le_bytes());
    assert_eq!(read(&memory, OBJECT), Err(Unread::TooLong("a str")));
    text(&mut memory, OBJECT, 3, false, b"xxx");
    assert_eq!(read(&memory, OBJECT), Err(Unread::Misfit("a str")));
    text(&mut memory, OBJECT, 1, true, b"x");
    memory.write(OBJECT + 8, &class(0).to_le_bytes());
    assert_eq!(read(&memory, OBJECT), Err(Unread::Misfit("a str")));
    assert_eq!(read(&memory, 16), Err(Unread::NotThere(24)));
    assert_eq!(read(&memory, u64::MAX), Err(Unread::NotThere(u64::MAX)));

    dict(&mut memory, 0, &[], u64::MAX, 0);
    let objects = runtime.objects(&memory);
    assert_eq!(objects.dict(DICT), Err(Unread::TooLong("a dict")));
    dict(&mut memory, 9, &[], 0, 0);
    let objects = runtime.objects(&memory);
    assert_eq!(objects.dict(DICT), Err(Unread::Misfit("a dict")));
    dict(&mut memory, 0, &[1, 2], 60_000, 0);
    let objects = runtime.objects(&memory);
    assert!(matches!(objects.dict(DICT), Err(Unread::NotThere(_))));

    let main = INTERPRETER + 0x1000;
    memory.write(main + 48, &7_u64.to_le_bytes());
    memory.write(main, &INTERPRETER.to_le_bytes());
    let circle = Unread::TooLong("the list of interpreters");
    assert_eq!(runtime.main_interpreter(&memory), Err(circle));
}

/// Checks that offsets that the interpreter publishes are believed only with their cookie,
/// for the very version, and that builds and versions that aren't known are named.
#[test]
fn versions_are_told_apart() {
    let read = |memory: &Recorded| Runtime::read(memory, &symbols(), 0);
    let mut memory = memory();
    let misfit = Unread::Misfit("_Py_DebugOffsets");
    let hex = 0x030d_00f0;
    memory.write(VERSION, &words(&[hex]));
    let mut published: Vec<u64> = (0..71).collect();
    published[..3].copy_from_slice(&[u64::from_le_bytes(*b"xdebugpy"), hex, 0]);
    memory.put(RUNTIME, words(&published));
    let runtime = read(&memory).expect("a runtime");
    assert_eq!(runtime.offsets.state.native_thread_id, 25);
    assert_eq!(runtime.offsets.string.compact, 70 + 16);
    assert_eq!(
        runtime.offsets.state.running_loop,
        RunningLoopPlace::State(19)
    );
    assert_eq!(memory.u64(RUNTIME, 8), Ok(hex));
    memory.write(RUNTIME + 23 * 8, &u64::MAX.to_le_bytes());
    assert_eq!(read(&memory), Err(misfit));
    memory.write(RUNTIME + 16, &1_u64.to_le_bytes());
    assert_eq!(read(&memory), Err(Unread::Build("free-threaded")));
    memory.write(RUNTIME + 8, &(hex + 1).to_le_bytes());
    assert_eq!(read(&memory), Err(misfit));
    memory.write(RUNTIME, b"XDEBUGPY");
    assert_eq!(read(&memory), Err(misfit));
    for (hex, version) in [(0x030e_01f0, [3, 14, 1]), (0x0400_00c1, [4, 0, 0])] {
        memory.write(VERSION, &words(&[hex]));
        assert_eq!(read(&memory), Err(Unread::Version(version)));
    }
    memory.write(VERSION, &words(&[0x030b_00b1]));
    assert_eq!(read(&memory), Err(Unread::Build("pre-release")));
    assert_eq!(Version(0x0400_00c1).to_string(), "CPython 4.0.0rc1");
    let old = RuntimeSymbols {
        version: None,
        ..symbols()
    };
    let error = Runtime::read(&memory, &old, 0);
    assert_eq!(error, Err(Unread::Version([0; 3])));
}

/// Checks that loops are found by thread, of all versions' ways to keep them; and that a
/// program without asyncio has none.
#[test]
fn running_loops_are_found() {
    const MODULE: u64 = 0xa_0000;
    const THREADS: [u64; 3] = [0xb_0000, 0xb_1000, 0xb_2000];
    const LOOP: u64 = 0xc_0000;
    const HOLDER: u64 = 0xc_1000;
    let mut memory = memory();
    let runtime = Runtime::read(&memory, &symbols(), 0).expect("a runtime");
    let names = [
        "_asyncio",
        "_current_tasks",
        "Task",
        "__asyncio_running_event_loop__",
    ];
    let [module, current, task, running] = [0, 1, 2, 3].map(|n| OBJECT + 0x100 * n);
    for (name, at) in names.into_iter().zip([module, current, task, running]) {
        text(&mut memory, at, 1, true, name.as_bytes());
    }
    // Dicts of strings, with one or two entries.
    let mut dict_at = |at: u64, entries: &[u64]| {
        memory.put(at, words(&[1, class(2), 0, 0, at + 0x100, 0]));
        let mut keys = words(&[1, 0, 0, entries.len() as u64 / 2]);
        keys[8..11].copy_from_slice(&[3, 3, 1]);
        keys.extend([0xff; 8]);
        keys.extend(words(entries));
        memory.put(at + 0x100, keys);
    };
    dict_at(DICT, &[module, MODULE]);
    dict_at(MODULE + 0x1000, &[current, 0x77, task, 0x88]);
    dict_at(THREADS[0] + 0x800, &[running, HOLDER]);
    dict_at(THREADS[2] + 0x800, &[current, HOLDER]);
    memory.put(MODULE, words(&[1, 0, MODULE + 0x1000]));
    memory.put(HOLDER, words(&[1, 0, LOOP]));
    let main = INTERPRETER + 0x1000;
    memory.write(main + 16, &THREADS[0].to_le_bytes());
    for (number, at) in THREADS.into_iter().enumerate() {
        memory.put(at, vec![0; 512]);
        let next = THREADS.get(number + 1).copied().unwrap_or(0);
        memory.write(at + 8, &next.to_le_bytes());
        memory.write(at + 160, &(40 + number as u64).to_le_bytes());
        if number != 1 {
            memory.write(at + 128, &(at + 0x800).to_le_bytes());
        }
    }
    let found = |event_loop| Asyncio {
        current_tasks: 0x77,
        task_class: 0x88,
        loops: vec![RunningLoop {
            native_thread_id: 40,
            event_loop,
        }],
    };
    assert_eq!(runtime.asyncio(&memory), Ok(Some(found(LOOP))));
    let mut later = runtime;
    later.offsets.state.running_loop = RunningLoopPlace::Dict(128);
    assert_eq!(later.asyncio(&memory), Ok(Some(found(HOLDER))));
    memory.write(THREADS[0] + 304, &LOOP.to_le_bytes());
    later.offsets.state.running_loop = RunningLoopPlace::State(304);
    assert_eq!(later.asyncio(&memory), Ok(Some(found(LOOP))));
    memory.write(THREADS[2] + 8, &THREADS[0].to_le_bytes());
    let circle = Unread::TooLong("the list of threads");
    assert_eq!(runtime.asyncio(&memory), Err(circle));
    memory.write(DICT + 0x100 + 24, &0_u64.to_le_bytes());
    assert_eq!(runtime.asyncio(&memory), Ok(None));
}

/// Checks that a code object is read, that another one at its address is told from it, and
/// that what isn't one is said to be none.
#[test]
fn code_is_known_again() {
    const CODE: u64 = 0x6_0000;
    let mut memory = memory();
    let runtime = Runtime::read(&memory, &symbols(), 0).expect("a runtime");
    text(&mut memory, OBJECT, 1, true, b"Server.handle");
    text(&mut memory, OBJECT + 0x100, 1, true, b"/srv/app.py");
    memory.put(OBJECT + 0x200, words(&[1, class(0), 4, 0]));
    let table = [words(&[1, class(0), 2, 0]), vec![0xe8, 0x04]].concat();
    memory.put(OBJECT + 0x300, table);
    memory.put(class(3), words(&[1, 0, 0, class(4)]));
    memory.put(class(4), b"code\0".as_slice());
    memory.put(CODE, vec![0; 200]);
    memory.write(CODE + 8, &class(3).to_le_bytes());
    for (offset, value) in [(112, OBJECT + 0x100), (128, OBJECT), (136, OBJECT + 0x300)] {
        memory.write(CODE + offset, &value.to_le_bytes());
    }
    memory.write(CODE + 72, &40_u32.to_le_bytes());
    let code = Code::read(&runtime.objects(&memory), CODE).expect("code");
    assert_eq!((&*code.name, &*code.file), ("Server.handle", "/srv/app.py"));
    assert_eq!((code.line(0), code.line(1)), (Some(42), None));
    let read = |memory: &Recorded| Code::read(&runtime.objects(memory), CODE);
    memory.write(CODE + 72, &41_u32.to_le_bytes());
    let other = read(&memory).expect("code");
    assert_ne!(other.identity, code.identity);
    memory.write(class(4), b"tuple");
    assert_eq!(read(&memory), Err(Unread::Misfit("a code object")));
}
