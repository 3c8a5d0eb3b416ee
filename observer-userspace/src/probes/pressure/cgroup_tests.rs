use super::*;
use crate::foreign::{A_WHILE, Subject, ask};
use std::fs;

fn read(files: &[(&str, &str)], is_v2: bool) -> Reading {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a").join("b");
    fs::create_dir_all(&path).expect("folders");
    for (file, text) in files {
        let at = folder.path().join("a").join(file);
        fs::write(at, text).expect("written");
    }
    let directory = Some(Directory {
        path,
        root: folder.path().to_owned(),
        is_v2,
    });
    let all = Directories {
        unified: directory.clone().filter(|_| is_v2),
        cpu: directory.clone(),
        memory: directory.clone(),
        pids: directory,
    };
    let reading = ask(Subject::Cgroups, A_WHILE, move |foreign| all.read(foreign));
    reading.expect("an answer").expect("it is there")
}

fn counter(reading: &Reading, which: C) -> Option<u64> {
    reading.counters.all().nth(which as usize).flatten()
}

fn level(reading: &Reading, which: L) -> Option<u64> {
    reading.levels.all().nth(which as usize).flatten()
}

/// Checks what is made of version 2's files, and that a limit above is found.
#[test]
fn version_2() {
    let reading = read(
        &[
            (
                "b/cpu.pressure",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
            ),
            (
                "b/cpu.stat",
                "usage_usec 9\nnr_periods 10\nnr_throttled 4\nthrottled_usec 5\n",
            ),
            ("b/cpu.max", "50000 100000\n"),
            ("b/memory.current", "1000\n"),
            ("b/memory.max", "max\n"),
            (
                "b/memory.stat",
                "anon 1\npgfault 20\npgmajfault 3\ninactive_file 100\n",
            ),
            (
                "b/memory.events",
                "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n",
            ),
            ("memory.current", "2000\n"),
            ("memory.max", "4000\n"),
            ("memory.stat", "inactive_file 500\n"),
            ("b/pids.current", "5\n"),
            ("b/pids.max", "10\n"),
            ("b/pids.events", "max 6\n"),
        ],
        true,
    );
    for (which, expected) in [
        (C::CpuSome, 7),
        (C::PeriodsFree, 6),
        (C::PeriodsThrottled, 4),
        (C::ThrottledTime, 5000),
        (C::FaultsMinor, 17),
        (C::OomKill, 4),
        (C::ForksRefused, 6),
    ] {
        assert_eq!(counter(&reading, which), Some(expected), "{which:?}");
    }
    assert_eq!(counter(&reading, C::CpuFull), None);
    assert_eq!(level(&reading, L::CpuLimit), Some(500_000));
    assert_eq!(level(&reading, L::WorkingSet), Some(900));
    assert_eq!(level(&reading, L::Available), None);
    let (used, most) = (1500, 4000);
    assert_eq!(reading.memory, Some(Use { used, most }));
    let (used, most) = (5, 10);
    assert_eq!(reading.threads, Some(Use { used, most }));
}

/// Checks version 1's, whose limits that are none are large numbers.
#[test]
fn version_1() {
    let reading = read(
        &[
            (
                "b/cpu.stat",
                "nr_periods 10\nnr_throttled 4\nthrottled_time 5000\n",
            ),
            ("b/cpu.cfs_quota_us", "-1\n"),
            ("b/cpu.cfs_period_us", "100000\n"),
            ("b/memory.usage_in_bytes", "1000\n"),
            ("b/memory.limit_in_bytes", "9223372036854771712\n"),
            ("b/memory.failcnt", "8\n"),
            (
                "b/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
            (
                "b/memory.stat",
                "pgfault 1\ntotal_pgfault 20\ntotal_pgmajfault 3\ntotal_swap 4\n",
            ),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
        ],
        false,
    );
    for (which, expected) in [
        (C::PeriodsThrottled, 4),
        (C::ThrottledTime, 5000),
        (C::FaultsMinor, 17),
        (C::Max, 8),
        (C::OomKill, 2),
    ] {
        assert_eq!(counter(&reading, which), Some(expected), "{which:?}");
    }
    assert_eq!(level(&reading, L::CpuLimit), None);
    assert_eq!(level(&reading, L::MemoryLimit), None);
    assert_eq!(level(&reading, L::Swap), Some(4));
    assert_eq!(reading.memory, None);
}
