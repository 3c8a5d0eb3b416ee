//! Whether the table is about the kernel object, and old kernels are refused.

use std::collections::BTreeSet;

use aya_obj::generated::bpf_map_type;
use observer_common::preemption;

use super::super::object::OBJECT;
use super::*;

/// The committed object, with the functions that each program calls behind it.
fn parsed() -> aya_obj::Object {
    let mut object = aya_obj::Object::parse(OBJECT).expect("the committed object");
    let sections = object.functions.keys().map(|(section, _)| *section);
    let sections = sections.collect();
    object.relocate_calls(&sections).expect("its calls");
    object
}

/// The numbers of all helpers that a program calls, itself or by functions.
fn called(object: &aya_obj::Object, program: &aya_obj::Program) -> BTreeSet<i32> {
    // `BPF_JMP | BPF_CALL`, and no register that says otherwise.
    const CALL: u8 = 0x85;
    let function = &object.functions[&program.function_key()];
    let calls = function.instructions.iter();
    let calls = calls.filter(|instruction| instruction.code == CALL && instruction.src_reg() == 0);
    let numbers = calls.map(|instruction| instruction.imm);
    let open = preemption::ALL.map(|bracket| [bracket.begin, bracket.end]);
    let end = [preemption::SAVE, preemption::ENABLE, preemption::RESTORE];
    numbers
        .filter(|number| !open.as_flattened().contains(number) && !end.contains(number))
        .collect()
}

/// Checks that each program calls only helpers that the oldest kernel has, or those
/// that are named for it as optional, and that the table has no others.
#[test]
fn programs_call_what_the_table_has() {
    let object = parsed();
    let mut all = BTreeSet::new();
    for (name, program) in &object.programs {
        for number in called(&object, program) {
            all.insert(number);
            let known = HELPERS.iter().find(|helper| helper.number == number);
            let optional = OPTIONAL_HELPERS
                .iter()
                .find(|(helper, programs)| {
                    helper.number == number && programs.contains(&name.as_str())
                })
                .map(|(helper, _)| helper);
            assert!(
                known.or(optional).is_some(),
                "{name} calls helper {number}, which isn't listed for it"
            );
        }
    }
    for helper in &HELPERS {
        assert!(helper.since <= OLDEST, "{} is younger", helper.name);
        assert!(all.contains(&helper.number), "nobody calls {}", helper.name);
    }
    for (helper, programs) in &OPTIONAL_HELPERS {
        assert!(helper.since > OLDEST, "{} is old enough", helper.name);
        for name in *programs {
            let calls = called(&object, &object.programs[*name]);
            assert!(calls.contains(&helper.number), "{name}: {}", helper.name);
        }
    }
}

/// Checks the table's numbers against the running kernel's own.
#[test]
fn numbers_are_the_kernels() {
    let types = KernelBtf::load().expect("this kernel shows its types");
    let optional = OPTIONAL_HELPERS.iter().map(|(helper, _)| helper);
    for helper in HELPERS.iter().chain(optional) {
        let name = format!("BPF_FUNC_{}", helper.name);
        let number = types.enumerator("bpf_func_id", &name);
        assert_eq!(number, u32::try_from(helper.number).ok(), "{name}");
    }
    ensure(&types).expect("this kernel has them all");
}

/// Checks that the object has maps of no other kinds than the table, and of each of
/// these.
#[test]
fn maps_are_of_these_kinds() {
    let object = parsed();
    let kinds: BTreeSet<u32> = object.maps.values().map(|map| map.map_type()).collect();
    let named = |name: &str| {
        let types = KernelBtf::load().expect("this kernel shows its types");
        types.enumerator("bpf_map_type", &format!("BPF_MAP_TYPE_{name}"))
    };
    let table: BTreeSet<u32> = MAPS.iter().filter_map(|(name, _)| named(name)).collect();
    assert_eq!(table, kinds);
    assert!(kinds.contains(&(bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32)));
    assert!(MAPS.iter().all(|(_, since)| *since <= OLDEST));
}

/// Checks that only those iterators may sleep that old kernels can do without, and
/// that these use no queue, which such programs may not before 6.2.
#[test]
fn programs_that_sleep_are_few() {
    let mut object = aya_obj::Object::parse(OBJECT).expect("the committed object");
    let (since, _) = SLEEPABLE_ITERATORS;
    assert!(since > OLDEST);
    let sections = object.functions.keys().map(|(section, _)| *section);
    let sections = sections.collect();
    object.relocate_calls(&sections).expect("its calls");
    let sleep: BTreeSet<&str> = object
        .programs
        .iter()
        .filter(|(_, program)| {
            matches!(
                program.section,
                aya_obj::ProgramSection::Iter { sleepable: true }
            )
        })
        .map(|(name, _)| name.as_str())
        .collect();
    let expected = ["identity_threads", "offcpu_threads"];
    assert_eq!(sleep, BTreeSet::from(expected));
    for name in expected {
        let calls = called(&object, &object.programs[name]);
        assert!(!calls.contains(&87) && !calls.contains(&88), "{name}");
    }
}

/// Checks that a kernel without a helper is refused with the version and the reason,
/// that of a distribution which has brought it back isn't, and neither is one that
/// doesn't tell.
#[test]
fn old_kernels_are_refused() {
    let all: Vec<String> = HELPERS
        .iter()
        .map(|helper| format!("BPF_FUNC_{}", helper.name))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(refusal(&all, "5.14.0-570.el9"), None);
    assert_eq!(refusal(&[], "6.1.0"), None);
    let old = refusal(&all[..20], "5.10.262").expect("it lacks five");
    for part in ["5.15", "5.10.262", "bpf_task_pt_regs"] {
        assert!(old.contains(part), "{old}");
    }
    assert_eq!(old.lines().count(), 1);
}
