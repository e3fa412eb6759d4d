//! A Slurm step as a job without a launcher: see `README.md`.
//!
//! `unsafe` lives in `sys` and `munge` only.
#![deny(unsafe_code)]

mod attendee;
mod guest;
mod helper;
pub mod hostlist;
mod layout;
mod life;
mod local;
mod mail;
mod message;
#[allow(unsafe_code)]
pub mod munge;
mod ports;
mod seek;
mod server;
mod step;
#[allow(unsafe_code)]
mod sys;
mod watch;

pub use guest::{Job, Membership, join};
pub use step::Step;
