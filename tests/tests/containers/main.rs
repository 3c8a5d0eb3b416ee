//! Checks what containers are called, by what their runtimes and the kubelet say: real ones
//! (Podman, containerd), and servers of the kit that answer as they do, or don't. Needs
//! root.

mod asking;
mod engines;
mod kubernetes;
mod seen;

/// Only one daemon at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
