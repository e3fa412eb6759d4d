//! The system calls of the board, each behind a safe function.

pub mod fork;
pub mod futex;
pub mod locks;
pub mod memory;
pub mod process;
pub mod random;
