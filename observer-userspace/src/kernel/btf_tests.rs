//! Tests of the reader of BTF: against another reader, and on files made by hand.

use super::*;
use btf_rs::{Btf, Type};

/// Checks every offset of a plain path, and a tracepoint's number, against
/// another reader of the same file.
#[test]
fn agrees_with_another_reader() {
    let Ok(other) = Btf::from_file(VMLINUX) else {
        panic!("this kernel shows no BTF at {VMLINUX}");
    };
    let ours = KernelBtf::load().expect("it can be read");
    let offsets = ours.offsets();
    let mut compared = 0;
    for spec in Offsets::SPECS {
        let Ok(types) = other.resolve_types_by_name(spec.structure) else {
            continue;
        };
        let Some(Type::Struct(structure)) =
            types.into_iter().find(|t| matches!(t, Type::Struct(_)))
        else {
            continue;
        };
        for path in spec.paths {
            let member = structure
                .members
                .iter()
                .find(|m| other.resolve_name(*m).is_ok_and(|name| name == *path));
            if let Some(member) = member {
                let bytes = member.bit_offset() / 8;
                assert_eq!(offsets.get(spec.name), Some(bytes), "{}", spec.name);
                compared += 1;
                break;
            }
        }
    }
    assert!(compared > 30, "only {compared} fields were compared");
    let ids = other
        .resolve_ids_by_name("btf_trace_sched_switch")
        .expect("it is there");
    assert_eq!(ours.tracepoint_id("sched_switch"), ids.first().copied());
    assert_eq!(ours.tracepoint_arguments("sched_switch"), Some(4));
    assert!(!ours.has_tracepoint("no_such_tracepoint"));
}

/// Checks that tracepoints and iterators have the same numbers in the small
/// file as in the kernel's, that nothing else has a name there, and that aya
/// takes it.
#[test]
fn hooks_keep_their_numbers() {
    let whole = KernelBtf::load().expect("it can be read").0;
    let wanted = [(kind::TYPEDEF, "btf_trace_"), (kind::FUNC, "bpf_iter_")];
    let small = RawBtf::parse(whole.only(&wanted)).expect("it can be read again");
    let mut named = [0, 0];
    for id in 1.. {
        let (Some(before), Some(after)) = (whole.get(id), small.get(id)) else {
            assert_eq!(whole.get(id).is_some(), small.get(id).is_some());
            break;
        };
        let name = whole.name(before);
        let known = wanted
            .iter()
            .position(|(kind, prefix)| *kind == before.kind && name.starts_with(prefix.as_bytes()));
        let Some(known) = known else {
            assert_eq!(small.name(after), b"", "{id}");
            continue;
        };
        named[known] += 1;
        assert_eq!((small.name(after), after.kind), (name, before.kind));
    }
    assert!(named[0] > 100 && named[1] > 3, "{named:?}");
    KernelBtf(whole).hooks().expect("aya takes it");
}

/// Checks that flags of block requests are found in an enum without a name,
/// as in 6.12, where nothing else would tell that no request is counted.
#[test]
fn enums_without_names() {
    let strings = b"\0__RQF_FLUSH_SEQ\0__RQF_IO_STAT\0";
    // `struct btf_type`: no name, two enumerators, four bytes; then names
    // and values.
    let types = [0, u32::from(kind::ENUM) << 24 | 2, 4, 1, 1, 17, 8];
    let lengths = [24, 0, 28, 28, strings.len() as u32];
    let mut file = vec![0x9f, 0xeb, 1, 0];
    file.extend(lengths.iter().chain(&types).flat_map(|w| w.to_ne_bytes()));
    file.extend(strings);
    let btf = KernelBtf(RawBtf::parse(file).expect("it is BTF"));
    let offsets = btf.offsets();
    assert_eq!(offsets.get("rqf_io_stat"), Some(8));
    assert_eq!(offsets.get("rqf_flush_seq"), Some(1));
    assert_eq!(offsets.get("req_fua"), Some(MISSING));
}

/// Checks where arm64 has a program's registers, by the structures of its headers
/// (arch/arm64/include/asm/ptrace.h), and that an element that isn't there is missing.
#[test]
fn registers_of_arm64() {
    let strings = b"\0pt_regs\0user_regs\0regs\0sp\0pc\0pstate\0";
    let name = |wanted: &[u8]| {
        let at = strings
            .windows(wanted.len())
            .position(|part| part == wanted);
        at.expect("it is there") as u32
    };
    let of = |kind: u8, count: u32| u32::from(kind) << 24 | count;
    #[rustfmt::skip]
    let types = [
        // 1: an integer of eight bytes.
        0, of(1, 0), 8, 64,
        // 2: 31 of them.
        0, of(kind::ARRAY, 0), 0, 1, 1, 31,
        // 3: a structure without a name.
        0, of(kind::STRUCT, 4), 272,
        name(b"regs\0"), 2, 0,
        name(b"sp\0"), 1, 248 * 8,
        name(b"pc\0"), 1, 256 * 8,
        name(b"pstate\0"), 1, 264 * 8,
        // 4: a union of it and of what user space sees.
        0, of(kind::UNION, 2), 272,
        name(b"user_regs\0"), 3, 0,
        0, 3, 0,
        // 5
        name(b"pt_regs\0"), of(kind::STRUCT, 1), 336,
        0, 4, 0,
    ];
    let lengths = [
        24,
        0,
        types.len() as u32 * 4,
        types.len() as u32 * 4,
        strings.len() as u32,
    ];
    let mut file = vec![0x9f, 0xeb, 1, 0];
    file.extend(lengths.iter().chain(&types).flat_map(|w| w.to_ne_bytes()));
    file.extend(strings);
    let btf = KernelBtf(RawBtf::parse(file).expect("it is BTF"));
    assert_eq!(btf.misfits(), []);
    let offsets = btf.offsets();
    assert!(offsets.has_link_register());
    for (name, at) in [
        ("pt_regs_bp", 29 * 8),
        ("pt_regs_lr", 30 * 8),
        ("pt_regs_sp", 31 * 8),
        ("pt_regs_ip", 32 * 8),
        ("pt_regs_mode", 33 * 8),
        ("pt_regs_second", 8),
        ("call_first", 0),
        ("call_fifth", 4 * 8),
        ("call_result", 0),
        ("pt_regs_cx", MISSING),
    ] {
        assert_eq!(offsets.get(name), Some(at), "{name}");
    }
    let array = btf.0.get(2).expect("the array");
    assert!(btf.0.element(array, 30).is_some());
    assert_eq!(btf.0.element(array, 31), None);
}

/// Checks that cut and nonsensical files are refused or harmless.
#[test]
fn broken_files_are_harmless() {
    let bytes = std::fs::read(VMLINUX).expect("this kernel shows its BTF");
    for length in [0, 1, 8, 23, 24, 100, bytes.len() / 2] {
        assert!(
            RawBtf::parse(bytes[..length].to_vec()).is_none(),
            "{length} bytes"
        );
    }
    let mut noise = bytes[..200_000].to_vec();
    // Sections within the file, whatever they hold.
    noise[8..24].copy_from_slice(&[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0]);
    for seed in 0..50u32 {
        for (i, byte) in noise[24..].iter_mut().enumerate() {
            *byte ^= (seed
                .wrapping_mul(2_654_435_761)
                .wrapping_add((i as u32).wrapping_mul(40_503))
                >> 24) as u8;
        }
        if let Some(btf) = RawBtf::parse(noise.clone()) {
            let _ = KernelBtf(btf).offsets();
        }
    }
}
