//! What the end-to-end tests share: the built programs, jobs with a hard time limit, and the check that a job
//! has left nothing behind.

pub mod artifacts;
pub mod conform;
pub mod job;
pub mod leftovers;
pub mod mpi;
pub mod slurm;
pub mod starter;
pub mod tree;
pub mod wait;
pub mod way;

pub use artifacts::{binary, c_program, source_tree, venv};
pub use job::{Job, Outcome, Running};
pub use mpi::{Mpi, ring_program};
pub use slurm::Slurm;
pub use starter::Starter;
pub use wait::until;
pub use way::Way;
