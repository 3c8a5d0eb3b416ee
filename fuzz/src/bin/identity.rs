//! What processes say about themselves, and what their cgroups are called: any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_identity::cgroup::CgroupIdentity;
use observer_identity::context::{Context, mappings};
use observer_identity::membership::parse_proc_cgroup;
use observer_identity::text::VALUE_LIMIT;
use observer_identity::{Facts, Place, Program, ProgramIdentity};
use observer_signals::outside::LONGEST_NAME;

/// Executables, so that each language is reached.
const EXECUTABLES: &[&str] = &[
    "/usr/bin/python3.11",
    "/usr/bin/node",
    "/usr/bin/ruby3.1",
    "/usr/bin/php8.2",
    "/usr/sbin/php-fpm8.2",
    "/usr/bin/perl",
    "/usr/lib/jvm/java-21/bin/java",
    "/usr/share/dotnet/dotnet",
    "/opt/shop/erts-14.2/bin/beam.smp",
    "/bin/bash",
    "/bin/busybox",
    "/usr/bin/uwsgi",
    "/usr/sbin/nginx",
    "/tmp/tmp.Xa81kLq0Zz/x (deleted)",
];

/// A byte between the parts of the input.
const BETWEEN: u8 = 0xff;

/// What the input's parts are in the memory of a process: the header at one address, any
/// payload at all others; what was written a moment before at the first look.
fn context(header: &[u8], payload: &[u8]) -> Option<Context> {
    const START: u64 = 0x1000;
    let mut looks = 0_u8;
    let context = Context::read(START, |at, into| {
        let from = if at == START { header } else { payload };
        for (to, byte) in into
            .iter_mut()
            .zip(from.iter().chain(std::iter::repeat(&0)))
        {
            *to = *byte;
        }
        looks = looks.wrapping_add(1);
        (from.first() != Some(&looks)).then_some(())
    });
    context.ok()
}

fn check(identity: &ProgramIdentity) {
    let is_clean = |text: &str| !text.chars().any(char::is_control);
    let name = &identity.service_name;
    assert!(name.len() <= LONGEST_NAME && is_clean(name), "{name:?}");
    for (key, value) in &identity.attributes {
        assert!(!value.is_empty() && value.len() <= VALUE_LIMIT, "{key}");
        assert!(is_clean(value), "{key}: {value:?}");
    }
}

fuzz_target!(|data: &[u8]| {
    let (which, data) = data.split_first().unwrap_or((&0, &[]));
    let mut parts = data.split(|byte| *byte == BETWEEN);
    let mut part = || parts.next().unwrap_or_default();
    let (cmdline, environ, cwd, cgroup, comm) = (part(), part(), part(), part(), part());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (cwd, comm) = (text(cwd), text(comm));
    let rest: Vec<u8> = parts.collect::<Vec<_>>().join(&BETWEEN);
    // The header of a context that is whole but for its size, so that payloads are read.
    let mut header = b"OTEL_CTX\x02\0\0\0".to_vec();
    header.extend((rest.len() as u32).to_ne_bytes());
    header.extend(1_u64.to_ne_bytes());
    header.extend(0x2000_u64.to_ne_bytes());
    let published = context(&header, &rest);
    let hostile = context(&rest, cmdline);
    let _ = mappings(data);

    let memberships = parse_proc_cgroup(&text(cgroup));
    let cgroup = CgroupIdentity::of_paths(memberships.iter().map(|it| it.path.as_str()));
    let executable = EXECUTABLES.get(usize::from(*which) % (EXECUTABLES.len() + 1));
    let facts = Facts {
        comm: &comm,
        is_kernel_thread: *which == 0xff,
        executable: executable.copied(),
        cmdline,
        environ,
        cwd: Some(cwd.as_str()).filter(|cwd| !cwd.is_empty()),
        context: published.as_ref(),
    };
    let program = Program::of(&facts);
    let place = Place {
        comm: &comm,
        cgroup: &cgroup,
        host_name: Some("host"),
    };
    let identity = ProgramIdentity::new(Some(&program), &place);
    check(&identity);
    assert_eq!(
        identity,
        ProgramIdentity::new(Some(&Program::of(&facts)), &place)
    );
    let other = Program::of(&Facts {
        context: hostile.as_ref(),
        cmdline: environ,
        ..facts
    });
    let same = ProgramIdentity::of_several(&[program.clone(), program.clone()], &place);
    assert_eq!(same, identity);
    check(&ProgramIdentity::of_several(&[program, other], &place));
    check(&ProgramIdentity::new(None, &place));
});
