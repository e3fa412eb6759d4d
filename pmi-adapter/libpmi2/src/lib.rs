//! `libpmi2.so.0`: the C interface of PMI-2 (`include/pmi2.h`) over [`pmi_client`].
//!
//! A library of its own: one that exported PMI-1 as well would be used as PMI-2 by MPI libraries that know both. Where
//! the text of Slurm's header and the behaviour of Slurm's library differ, this one follows the behaviour that programs
//! rely on, and `include/pmi2.h` says so. Nothing here writes to stdout, starts a thread, or handles a signal.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod abi;
