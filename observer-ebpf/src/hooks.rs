//! The programs on hooks that several families share. They stand on top of the
//! families and call them one after the other; no family calls another.

mod switches;
mod syscalls;
