//! What is made of the code and the kernel for the documentation.

pub mod command_line;
pub mod costs;
