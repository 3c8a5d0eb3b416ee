//! Whose a process is, where what it takes is taken from others.

use std::fmt;

use super::process;

/// The first process: the host's.
const INIT: u32 = 1;
const ROOT: u32 = 0;

/// Who has a process, and with it its files. Nobody's keep what is shared from those of
/// others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tenant {
    /// Root, outside of containers.
    Host,
    /// Another user, wherever.
    User(u32),
    /// Root in a mount namespace of its own, by the number of that.
    Container(u64),
}

impl Tenant {
    /// Whose process `pid` is: the host's if it ended.
    pub(crate) fn of(pid: u32) -> Self {
        match process::user(pid) {
            Some(ROOT) | None => {}
            Some(user) => return Self::User(user),
        }
        let number = process::mount_namespace_number;
        match number(pid) {
            Some(mounts) if Some(mounts) != number(INIT) => Self::Container(mounts),
            _ => Self::Host,
        }
    }
}

/// For people, and as a metric's attribute.
impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("root"),
            Self::User(user) => write!(f, "user {user}"),
            Self::Container(mounts) => write!(f, "root in mount namespace {mounts}"),
        }
    }
}
