//! Checks the order of the sources of a service's name, and the attributes beside it.

use super::*;
use crate::cgroup::parse_path;
use crate::context::Context;
use crate::program::Facts;

fn context(attributes: &[(&str, &str)]) -> Context {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Context {
        attributes: attributes.iter().map(pair).collect(),
    }
}

fn place<'a>(comm: &'a str, cgroup: &'a CgroupIdentity) -> Place<'a> {
    Place {
        comm,
        cgroup,
        host_name: Some("node-7"),
    }
}

fn named(facts: &Facts<'_>, path: &str) -> (String, Source) {
    let cgroup = parse_path(path);
    let found = ProgramIdentity::new(Some(&Program::of(facts)), &place(facts.comm, &cgroup));
    (found.service_name, found.source)
}

/// A container's id, and its pod.
const DOCKER: &str = "/docker/3f4a0c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";
const POD: &str = "/kubepods/poda3d1bf5e-4c2f-4f0b-9c2e-0c6b1e6f2d11/3f4a0c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";
const UNIT: &str = "/system.slice/till.service";

/// Checks that sources are believed in their order, each once the ones before are gone.
#[test]
fn sources_have_an_order() {
    let published = context(&[("service.name", "published")]);
    let mut facts = Facts {
        comm: "python3",
        executable: Some("/usr/bin/python3.11"),
        cmdline: b"python3\0/srv/shop/orders.py\0",
        environ: b"OTEL_SERVICE_NAME=declared\0HOSTNAME=box\0",
        cwd: Some("/"),
        context: Some(&published),
        is_kernel_thread: false,
    };
    assert_eq!(
        named(&facts, UNIT),
        ("declared".into(), Source::Environment)
    );
    facts.environ = b"OTEL_RESOURCE_ATTRIBUTES=service.name=attribute\0";
    assert_eq!(
        named(&facts, UNIT),
        ("attribute".into(), Source::Environment)
    );
    facts.environ = b"HOSTNAME=box\0";
    assert_eq!(
        named(&facts, UNIT),
        ("published".into(), Source::ProcessContext)
    );
    facts.context = None;
    assert_eq!(named(&facts, UNIT), ("orders".into(), Source::Script));
    facts.cmdline = b"python3\0/app/main.py\0";
    assert_eq!(named(&facts, UNIT), ("till".into(), Source::Unit));
    assert_eq!(named(&facts, DOCKER), ("box".into(), Source::Container));
    assert_eq!(named(&facts, "/"), ("main".into(), Source::Script));
    facts.cmdline = b"python3\0";
    assert_eq!(
        named(&facts, "/"),
        ("python3.11".into(), Source::Executable)
    );
    facts.executable = None;
    assert_eq!(named(&facts, "/"), ("python3".into(), Source::Executable));
    facts.is_kernel_thread = true;
    facts.comm = "kworker/0:1-events";
    assert_eq!(named(&facts, "/"), ("kworker".into(), Source::KernelThread));
}

/// Checks that what SDKs say where nobody told them a name is none.
#[test]
fn unknown_services_have_no_name() {
    let published = context(&[("service.name", "unknown_service:java")]);
    let facts = Facts {
        comm: "java",
        executable: Some("/usr/bin/java"),
        cmdline: b"java\0-jar\0shop.jar\0",
        environ: b"OTEL_SERVICE_NAME=unknown_service\0",
        context: Some(&published),
        ..Facts::default()
    };
    assert_eq!(named(&facts, UNIT), ("shop".into(), Source::Jar));
}

/// Checks that nothing names a service that is another one at each login or start.
#[test]
fn what_passes_names_nothing() {
    let sleep = Facts {
        comm: "sleep",
        executable: Some("/usr/bin/sleep"),
        cmdline: b"sleep\x0060\0",
        ..Facts::default()
    };
    for path in [
        "/user.slice/user-1000.slice/session-3.scope",
        "/system.slice/run-u17.service",
        "/init.scope",
        DOCKER,
        POD,
    ] {
        assert_eq!(
            named(&sleep, path),
            ("sleep".into(), Source::Executable),
            "{path}"
        );
    }
    let id = Facts {
        environ: b"HOSTNAME=3f4a0c7c2cb2\0",
        ..sleep
    };
    assert_eq!(named(&id, DOCKER).0, "sleep");
    let host = Facts {
        environ: b"HOSTNAME=node-7\0",
        ..sleep
    };
    assert_eq!(named(&host, DOCKER).0, "sleep");
    let frozen = Facts {
        executable: Some("/tmp/tmp.Xa81kLq0Zz/tmpab12cd34"),
        ..sleep
    };
    assert_eq!(named(&frozen, "/").0, "sleep");
}

/// Checks pods, tasks, machines: names that outlive their containers.
#[test]
fn containers_have_names() {
    let with = |environ: &'static [u8]| Facts {
        comm: "nginx",
        executable: Some("/usr/sbin/nginx"),
        cmdline: b"nginx: worker process\0",
        environ,
        ..Facts::default()
    };
    let pod = with(b"HOSTNAME=shop-7d9f8c6b5-x7k2p\0");
    assert_eq!(named(&pod, POD), ("shop".into(), Source::Container));
    let task = with(b"NOMAD_TASK_NAME=till\0HOSTNAME=a\0");
    assert_eq!(named(&task, DOCKER), ("till".into(), Source::Container));
    let lxc = named(&with(b""), "/lxc.payload.web/system.slice/nginx.service");
    assert_eq!(lxc, ("nginx".into(), Source::Unit));
    assert_eq!(
        named(&with(b""), "/lxc.payload.web"),
        ("web".into(), Source::Container)
    );
    let cgroup = parse_path(POD);
    let found = ProgramIdentity::new(Some(&Program::of(&pod)), &place("nginx", &cgroup));
    assert_eq!(found.get("k8s.pod.name"), Some("shop-7d9f8c6b5-x7k2p"));
}

/// Checks the attributes of the conventions, the environment's before the SDK's.
#[test]
fn attributes_are_of_the_conventions() {
    let published = context(&[
        ("service.version", "9"),
        ("service.instance.id", "a-1"),
        ("deployment.environment", "prod"),
        ("host.name", "elsewhere"),
    ]);
    let facts = Facts {
        comm: "orders.py",
        executable: Some("/usr/bin/python3.11"),
        cmdline: b"python3\0/srv/shop/orders.py\0--password\0x\0",
        environ: b"OTEL_RESOURCE_ATTRIBUTES=service.version=2,service.namespace=eu\0",
        context: Some(&published),
        ..Facts::default()
    };
    let cgroup = parse_path(UNIT);
    let program = Program::of(&facts);
    let found = ProgramIdentity::new(Some(&program), &place("orders.py", &cgroup));
    let table = [
        ("service.namespace", Some("eu")),
        ("service.version", Some("2")),
        ("service.instance.id", Some("a-1")),
        ("deployment.environment.name", Some("prod")),
        ("host.name", None),
        ("systemd.unit.name", Some("till.service")),
        ("process.executable.name", Some("python3.11")),
        ("process.executable.path", Some("/usr/bin/python3.11")),
        ("process.runtime.name", Some("cpython")),
        ("process.runtime.version", Some("3.11")),
        ("observer.workload.comm", Some("orders.py")),
    ];
    for (key, value) in table {
        assert_eq!(found.get(key), value, "{key}");
    }
    assert_eq!(program.command_args[2..], ["--password", "REDACTED"]);
    let jar = Facts {
        comm: "java",
        executable: Some("/usr/bin/java"),
        cmdline: b"java\0-jar\0shop-1.2.3.jar\0",
        ..Facts::default()
    };
    let found = ProgramIdentity::new(Some(&Program::of(&jar)), &place("java", &cgroup));
    assert_eq!(found.get("service.version"), Some("1.2.3"));
}

/// Checks that a name isn't told of processes that it isn't of.
#[test]
fn several_programs_agree_or_are_called_after_their_place() {
    let of = |cmdline: &'static [u8]| {
        Program::of(&Facts {
            comm: "python3",
            executable: Some("/usr/bin/python3.11"),
            cmdline,
            ..Facts::default()
        })
    };
    let orders = of(b"python3\0/srv/shop/orders.py\0");
    let again = of(b"python3\0-u\0/srv/shop/orders.py\0");
    let bills = of(b"python3\0/srv/shop/bills.py\0");
    let several = |programs: &[Program], path: &str| {
        let cgroup = parse_path(path);
        let found = ProgramIdentity::of_several(programs, &place("python3", &cgroup));
        (found.service_name, found.source)
    };
    let same = several(&[orders.clone(), again], UNIT);
    assert_eq!(same, ("orders".into(), Source::Script));
    let differ = [orders, bills];
    assert_eq!(several(&differ, UNIT), ("till".into(), Source::Unit));
    assert_eq!(
        several(&differ, "/"),
        ("python3.11".into(), Source::Executable)
    );
    assert_eq!(several(&[], UNIT), ("till".into(), Source::Unit));
}

/// Checks that a comm is shown only where it says more than the executable.
#[test]
fn comm_is_kept_where_it_differs() {
    let none = CgroupIdentity::default();
    let shown = |comm: &str, executable: &str| {
        let program = Program::of(&Facts {
            executable: Some(executable),
            ..Facts::default()
        });
        let found = ProgramIdentity::new(Some(&program), &place(comm, &none));
        found.get("observer.workload.comm").is_some()
    };
    assert!(!shown("a-long-executab", "a-long-executable-name"));
    assert!(shown("a-long", "a-long-executable-name"));
    assert!(shown("backup.sh", "/bin/bash"));
    assert!(!shown("bash", "/bin/bash"));
}

/// Checks that the kernel's numbered workers are one thing, dead or alive, and that an
/// executable of many programs is the one that it was called as.
#[test]
fn workers_are_one_and_applets_many() {
    let none = CgroupIdentity::default();
    let alive = Program::of(&Facts {
        is_kernel_thread: true,
        comm: "kworker/1:2-events",
        ..Facts::default()
    });
    let a = ProgramIdentity::new(None, &place("kworker/0:1H", &none));
    let b = ProgramIdentity::new(Some(&alive), &place("kworker/1:2", &none));
    assert_eq!(a, b);
    assert_eq!(a.get("process.executable.name"), Some("kworker"));
    let applet = Facts {
        comm: "httpd",
        executable: Some("/bin/busybox"),
        cmdline: b"httpd\0-f\0",
        ..Facts::default()
    };
    assert_eq!(named(&applet, "/"), ("httpd".into(), Source::Executable));
    assert_eq!(worker_pool("kthreadd"), "kthreadd");
}

/// Checks that a program found by a link has the link's name, if both the kernel and who
/// executed it say so; and that versions, titles and names of its own are none.
#[test]
fn links_name_programs() {
    let name = |comm, executable, cmdline: &'static [u8]| {
        let facts = Facts {
            comm,
            executable: Some(executable),
            cmdline,
            ..Facts::default()
        };
        named(&facts, "/").0
    };
    let redis = "/usr/bin/redis-check-rdb";
    assert_eq!(
        name("redis-server", redis, b"/usr/bin/redis-server\0*:6379\0"),
        "redis-server"
    );
    assert_eq!(
        name("redis-server", redis, b"redis-server 127.0.0.1:6379\0"),
        "redis-server"
    );
    let long = b"/opt/the-name-of-the-link\0";
    assert_eq!(
        name("the-name-of-the", "/opt/release-17/main", long),
        "the-name-of-the-link"
    );
    // It was told another name than the kernel, or gave itself one.
    assert_eq!(
        name("redis-check-rdb", redis, b"redis-server\0"),
        "redis-check-rdb"
    );
    assert_eq!(
        name("io_worker", redis, b"redis-server\0"),
        "redis-check-rdb"
    );
    assert_eq!(name("perl", "/usr/bin/perl5.36", b"perl\0-v\0"), "perl5.36");
}

/// Checks that a program that runs from memory is called by its own name, not by that of
/// a file that nobody sees.
#[test]
fn programs_in_memory_have_no_file() {
    for file in [
        "/memfd:sealed (deleted)",
        "/memfd:runc:/proc/self/exe (deleted)",
    ] {
        let facts = Facts {
            comm: "till",
            executable: Some(file),
            ..Facts::default()
        };
        let found = named(&facts, "/");
        assert_eq!(found, ("till".to_owned(), Source::Executable), "{file}");
    }
}
