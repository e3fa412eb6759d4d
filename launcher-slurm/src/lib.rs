//! A PMI server beside srun, and its hand-over to the tasks. README.md has the picture.
#![forbid(unsafe_code)]

pub mod args;
pub mod handover;
pub mod ports;
pub mod step;
pub mod supervisor;
