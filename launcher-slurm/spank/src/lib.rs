//! `spank_pmi.so`: plain `srun` with a PMI server. README.md has the picture, spank_pmi(8) what users and administrators
//! need.
//!
//! Slurm loads it into srun, sbatch, salloc, slurmd and slurmstepd. It does little there itself: in srun it runs
//! `pmi-step-server`, in each task `pmi-task-prolog`, and does to the environment what they print.
#![deny(unsafe_code)]

// What calls Slurm cannot be linked into a test program.
#[cfg(not(test))]
#[allow(unsafe_code)]
mod entry;
#[cfg(not(test))]
mod local;
pub mod settings;
#[cfg(not(test))]
#[allow(unsafe_code)]
pub mod slurm;
#[cfg(not(test))]
mod task;
pub mod words;
