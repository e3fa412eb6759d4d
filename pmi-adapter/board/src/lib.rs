//! The board of a node and the session of a rank: see `README.md` and `ARCHITECTURE.md`.
//!
//! `unsafe` lives in `sys` and `segment` only.
#![deny(unsafe_code)]

mod attributes;
mod board;
mod delegate;
mod failure;
mod index;
mod kernel;
mod latch;
mod layout;
mod liveness;
#[cfg(test)]
mod model;
mod rendezvous;
#[allow(unsafe_code)]
mod segment;
pub mod session;
mod shared;
#[allow(unsafe_code)]
mod sys;
mod turnstile;
mod uplog;

pub use attributes::AttributesFull;
pub use board::{Arrival, Board, BoardConfig};
pub use delegate::{CeilingExceeded, Delegate};
pub use failure::Failure;
pub use index::BadLog;
pub use liveness::{ClaimError, Member, Slot, State};
pub use sys::process;
pub use turnstile::Wait;
pub use uplog::UpLogFull;
