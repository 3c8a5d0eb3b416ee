//! User stacks of programs without frame pointers are complete: programs whose
//! stacks are known beforehand, in every way that programs are built and run.
//! All need root.

mod kinds;
mod languages;
mod limits;
mod servers;
