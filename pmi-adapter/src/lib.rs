//! `libpmi.so.0`: the C interface of PMI-1 (`include/pmi.h`) over [`pmi_client`].
//!
//! A C entry point (`abi`) validates its pointers, calls safe code and maps the error. Nothing here writes to
//! stdout, starts a thread, or handles a signal.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod abi;
pub mod keyval;
pub mod matrix;
