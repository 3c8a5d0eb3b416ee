//! Attaching the kernel half's programs to a library file, for all processes
//! that map it, now and later.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Result, anyhow};
use aya::programs::UProbe;

use super::library::{CALLED, MAX_POINTS, Point, RETURNED};
use crate::kernel::capabilities::UPROBE_PRIVILEGE;
use crate::kernel::perf::{PerfEvent, uprobe_type};
use crate::kernel::{Kernel, descriptors};

/// Descriptors that one attached file takes at most.
pub const DESCRIPTORS: usize = 2 * MAX_POINTS;

/// The loaded programs.
pub struct Programs {
    kind: u32,
    called: Vec<(&'static str, OwnedFd)>,
    returned: OwnedFd,
}

impl Programs {
    /// Takes those that could be loaded.
    ///
    /// # Errors
    /// When the kernel can't observe functions of user programs, or the program
    /// for their return isn't loaded.
    pub fn of(kernel: &mut Kernel) -> Result<Self> {
        let kind = uprobe_type().map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!(
                "this kernel can't observe functions of user programs (CONFIG_UPROBE_EVENTS)"
            ),
            _ => anyhow!(
                "how functions are observed can't be read: {error}{}",
                hint(&error)
            ),
        })?;
        let failures = kernel.states().iter().filter_map(|state| {
            let failure = state.failure.as_ref()?;
            Some((state.program.name, failure.to_string()))
        });
        let failures: HashMap<_, _> = failures.collect();
        let reason = |name: &str| {
            let known = failures.get(name).map(String::as_str);
            known.unwrap_or("nobody loaded it").to_owned()
        };
        let mut take = |name: &str| -> Result<OwnedFd> {
            let program = kernel
                .program_mut(name)
                .ok_or_else(|| anyhow!("the kernel object has no program {name}"))?;
            let program: &mut UProbe = program.try_into()?;
            let fd = program.fd();
            let fd = fd.map_err(|_| anyhow!("{name} is not loaded: {}", reason(name)))?;
            let fd = fd.as_fd().try_clone_to_owned();
            fd.map_err(|error| anyhow!("{error}{}", hint(&error)))
        };
        let returned = take(RETURNED)?;
        // What failed to load was told of then.
        let called = CALLED
            .into_iter()
            .filter_map(|name| Some((name, take(name).ok()?)))
            .collect();
        Ok(Self {
            kind,
            called,
            returned,
        })
    }
}

/// What mends an error, if it is known.
fn hint(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE) => format!("; {}", descriptors::exhausted()),
        Some(libc::EPERM | libc::EACCES) => format!("; it takes {UPROBE_PRIVILEGE}"),
        _ => String::new(),
    }
}

/// An attached file. The ends of calls are attached first and detached last:
/// an end without a beginning means nothing, a beginning without an end would
/// leave a thread inside of a call.
pub struct Attachment {
    _called: Vec<PerfEvent>,
    _returned: Vec<PerfEvent>,
}

impl Attachment {
    /// Attaches at `points` of the very file that is open, whatever its path
    /// is by now.
    ///
    /// # Errors
    /// When one of them can't be attached; then none is.
    pub fn new(programs: &Programs, file: &File, points: &[Point]) -> Result<Self> {
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let attach = |point: &Point, at_return: bool, program: &OwnedFd| {
            let offset = point.offset;
            let attach = || {
                let event = PerfEvent::user_function(programs.kind, &path, offset, at_return)?;
                event.set_bpf(program.as_fd())?;
                Ok(event)
            };
            attach().map_err(|error: std::io::Error| {
                let (name, hint) = (point.name, hint(&error));
                anyhow!("cannot attach to {name} at {offset:#x}: {error}{hint}")
            })
        };
        let mut returned = Vec::new();
        for point in points.iter().filter(|point| point.returns) {
            returned.push(attach(point, true, &programs.returned)?);
        }
        let mut called = Vec::new();
        for point in points {
            let program = programs.called.iter().find(|(n, _)| *n == point.called);
            if let Some((_, program)) = program {
                called.push(attach(point, false, program)?);
            }
        }
        Ok(Self {
            _called: called,
            _returned: returned,
        })
    }
}
