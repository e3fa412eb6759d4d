//! `libpmi.so.0`: the C interface of PMI-1 (`include/pmi.h`) over interchangeable backends.
//!
//! A C entry point (`abi`) validates its pointers, calls safe code and maps the error. The safe code
//! reads the rank's place from its environment ([`environment`]), picks a [`backend`] at `PMI_Init`
//! and keeps it in [`process`]. Nothing here writes to stdout, starts a thread, or handles a signal.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod abi;
pub mod backend;
pub mod debug;
pub mod environment;
pub mod error;
pub mod keyval;
pub mod matrix;
pub mod process;
