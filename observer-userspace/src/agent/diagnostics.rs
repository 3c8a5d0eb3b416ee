//! The kernel half's own log lines (aya-log). Off by default: the verifier then
//! removes every trace of them.

use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::kernel::Kernel;

/// Has the kernel half's lines logged from now on, on the current runtime.
pub fn start(kernel: &mut Kernel) {
    let logger = match EbpfLogger::init(kernel.ebpf_mut()) {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!("the kernel half's diagnostics can't be read: {error}");
            return;
        }
    };
    // SAFETY: the logger's descriptor is its ring buffer's, which it owns and
    // never exchanges; the AsyncFd owns the logger.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = match logger {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!("the kernel half's diagnostics can't be polled: {error}");
            return;
        }
    };
    tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
}
