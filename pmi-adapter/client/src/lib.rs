//! The PMI client inside `libpmi.so.0` and `libpmi2.so.0`: everything but their C symbols.
//!
//! The rank's place is read from its environment ([`environment`]), a [`backend`] is picked at the first call and
//! kept in [`process`]; [`entry`] is what their C entry points share. Nothing here writes to stdout, starts a
//! thread, or handles a signal.
#![deny(unsafe_code)]

/// Names this implementation and its version; traced when a process joins its job. It stands in the libraries' files as
/// it is here, so that `pmi-info` knows them, whatever they are called.
pub const IDENTITY: &str = concat!("[pmi-adapter ", env!("CARGO_PKG_VERSION"), "]");

pub mod attributes;
pub mod backend;
pub mod collective;
pub mod debug;
#[allow(unsafe_code)]
pub mod entry;
pub mod environment;
pub mod error;
pub mod process;
