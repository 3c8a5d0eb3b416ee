//! What is recorded: a command's program, processes that run already.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::foreign::process;
use crate::identity::process::comm_from_bytes;
use crate::kernel::Filters;

/// Bytes of a process's name.
const MAX_COMM: usize = 15;

/// The file of the command, found as execvp(3) does.
pub(super) fn program(command: &[OsString]) -> Option<PathBuf> {
    let name = Path::new(command.first()?);
    if name.components().count() > 1 {
        return Some(name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(name));
    candidates.find(|file| file.is_file())
}

/// Processes that run already and that the filter names.
pub(super) fn running(filters: &Filters) -> Vec<u32> {
    let mut pids = filters.pids.clone();
    if filters.comms.is_empty() {
        return pids;
    }
    pids.extend(process::all().filter_map(|pid| {
        let comm = comm_from_bytes(&process::comm(pid)?);
        // As the kernel does, longer names are cut.
        let wanted = |name: &String| name.as_bytes().iter().take(MAX_COMM).eq(comm.as_bytes());
        filters.comms.iter().any(wanted).then_some(pid)
    }));
    pids
}

/// Whether all processes of the filter ended.
pub(super) fn all_ended(filters: &Filters) -> bool {
    let gone = |pid: &u32| process::comm(*pid).is_none();
    !filters.pids.is_empty() && filters.pids.iter().all(gone)
}
