//! Why a program isn't attached.

use anyhow::anyhow;
use aya::BtfError;
use aya::programs::ProgramError;
use nix::errno::Errno;

use crate::kernel::descriptors;

/// How many characters of the verifier's last words are kept.
const LAST_WORDS: usize = 240;

/// Why a program isn't attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// A field that it reads isn't in the running kernel.
    #[error("this kernel's BTF has no field {0}")]
    NoField(String),
    /// A field that it reads is smaller than what it reads of it.
    #[error("this kernel's BTF has a field of another size: {0}")]
    FieldSize(String),
    /// What it is to be attached to isn't.
    #[error("this kernel has no {0}")]
    NoHook(String),
    /// The kernel's verifier doesn't accept it; with its last words.
    #[error("the kernel's verifier refuses it: {0}")]
    Refused(String),
    /// The daemon may not do that.
    #[error("not allowed: {0}")]
    NoPrivilege(String),
    /// The daemon has as many files open as it may.
    #[error("no descriptor is left for it: {0}")]
    NoDescriptor(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl AttachError {
    /// The kind's name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoField(_) => "no_field",
            Self::FieldSize(_) => "field_size",
            Self::NoHook(_) => "no_hook",
            Self::Refused(_) => "refused",
            Self::NoPrivilege(_) => "no_privilege",
            Self::NoDescriptor(_) => "no_descriptor",
            Self::Failed(_) => "failed",
        }
    }

    /// What aya says of a program that was to be loaded or attached.
    pub(super) fn of(error: ProgramError) -> Self {
        match error {
            ProgramError::Btf(BtfError::UnknownBtfTypeName { type_name }) => {
                Self::NoHook(hook_name(&type_name))
            }
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => Self::answer(
                &io_error,
                "the kernel doesn't load it",
                &verifier_log.to_string(),
            ),
            ProgramError::SyscallError(error) => Self::answer(&error.io_error, error.call, ""),
            other => Self::Failed(format!("{:#}", anyhow!(other))),
        }
    }

    /// The kernel's answer, with the verifier's log if there is one.
    fn answer(error: &std::io::Error, what: &str, log: &str) -> Self {
        // The verifier had its say before the kernel found no room for the answer.
        if error.raw_os_error() == Some(libc::EMFILE) {
            return Self::NoDescriptor(descriptors::exhausted());
        }
        if !log.trim().is_empty() {
            tracing::debug!("the verifier's log:\n{}", log.trim_end());
            return Self::Refused(last_words(log));
        }
        let text = format!("{what}: {error}");
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM | Errno::EACCES) => Self::NoPrivilege(text),
            _ => Self::Failed(text),
        }
    }
}

/// What the kernel's types call by this name, as a person would look for it.
fn hook_name(type_name: &str) -> String {
    if let Some(tracepoint) = type_name.strip_prefix("btf_trace_") {
        format!("tracepoint {tracepoint}")
    } else if let Some(kind) = type_name.strip_prefix("bpf_iter_") {
        format!("iterator over {kind}")
    } else {
        type_name.to_owned()
    }
}

/// The reason in a verifier's log: its last line before the figures that end it.
fn last_words(log: &str) -> String {
    let is_figure = |line: &&str| {
        line.starts_with("verification time ")
            || line.starts_with("stack depth ")
            || line.starts_with("processed ")
    };
    let lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    let reason = lines.take_while(|line| !is_figure(line)).last();
    let reason = reason.unwrap_or("it doesn't say why");
    let mut words: String = reason.chars().take(LAST_WORDS).collect();
    if words.len() < reason.len() {
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya::sys::SyscallError;
    use std::io::Error;

    /// Checks that of a verifier's log (Linux 7.3 and 6.1, shortened) the reason
    /// is kept.
    #[test]
    fn reasons_are_the_verifiers_last_words() {
        let new = "0: R1=ctx() R10=fp0\n; let cpu = unsafe { … } @ offcpu.rs:512\n\
            27: (61) r1 = *(u32 *)(r8 +52)\n\
            access beyond the end of member on_cpu (mend:53) in struct task_struct with off 52 size 4\n\
            verification time 3119 usec\nstack depth 64+0+160\n\
            processed 412 insns (limit 1000000) max_states_per_insn 2 total_states 31\n";
        assert_eq!(
            last_words(new),
            "access beyond the end of member on_cpu (mend:53) in struct task_struct with off 52 size 4"
        );
        let old = "combined stack size of 4 calls is 576. Too large\nverification time 9 usec\n";
        assert_eq!(
            last_words(old),
            "combined stack size of 4 calls is 576. Too large"
        );
        let unbounded = "The sequence of 8193 jumps is too complex.\nprocessed 9 insns\n";
        assert_eq!(
            last_words(unbounded),
            "The sequence of 8193 jumps is too complex."
        );
        assert_eq!(
            last_words(&"é".repeat(1000)).chars().count(),
            LAST_WORDS + 1
        );
        assert_eq!(last_words("processed 1 insns\n"), "it doesn't say why");
    }

    /// Checks which kinds the kernel's answers are.
    #[test]
    fn answers_have_kinds() {
        let load = |errno, log: &str| {
            AttachError::answer(&Error::from_raw_os_error(errno), "load", log).kind()
        };
        assert_eq!(
            load(libc::EACCES, "invalid access\nprocessed 1 insns"),
            "refused"
        );
        assert_eq!(load(libc::EACCES, ""), "no_privilege");
        assert_eq!(load(libc::ENOMEM, ""), "failed");
        assert_eq!(load(libc::EMFILE, ""), "no_descriptor");
        let attach = ProgramError::SyscallError(SyscallError {
            call: "bpf_raw_tracepoint_open",
            io_error: Error::from_raw_os_error(libc::EPERM),
        });
        assert_eq!(AttachError::of(attach).kind(), "no_privilege");
        let unknown = |name: &str| {
            AttachError::of(ProgramError::Btf(BtfError::UnknownBtfTypeName {
                type_name: name.to_owned(),
            }))
        };
        let hook = |text: &str| AttachError::NoHook(text.to_owned());
        assert_eq!(unknown("btf_trace_a_b"), hook("tracepoint a_b"));
        assert_eq!(unknown("bpf_iter_task"), hook("iterator over task"));
    }
}
