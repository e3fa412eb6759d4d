//! The "simple" PMI wire protocol, PMI-1 (1.0 to 1.2) and PMI-2, both sides, without IO.
//!
//! Programs that embed their own PMI client (MPICH, Intel MPI, NVSHMEM, OpenSHMEM) speak it over `PMI_FD` or
//! `PMI_PORT`; so do the servers of Hydra, gforker and Slurm. [`server`] serves the former, [`client`] talks to
//! the latter. Both take bytes and give bytes: sockets, time and waiting belong to the caller. README.md has the
//! run loops and every quirk of a client or server that is handled here.

#![forbid(unsafe_code)]

use std::borrow::Cow;

mod attributes;
mod buffer;
pub mod client;
mod compose;
mod frame;
pub mod limits;
mod scan;
pub mod server;
mod violation;

pub use violation::Violation;

/// Bytes of a message: borrowed, unless escapes had to be taken out of them.
pub type Text<'a> = Cow<'a, [u8]>;

/// The two forms that requests and answers take on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PMI-1: lines of `name=value` words.
    V1,
    /// PMI-2: a length of six bytes, then `name=value;` attributes. Its first exchange is a PMI-1 line.
    V2,
}

/// The programs in README.md are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
