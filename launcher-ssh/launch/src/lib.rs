//! What the launchers of pmi-adapter share: the job's key and name, the environment of a rank, the supervision
//! of the key-value server, processes, signals and standard streams.
//!
//! A launcher describes a job ([`spec::JobSpec`]) and runs it ([`job::run`]); the result is the exit code.
//! Everything happens in one thread and one event loop.
#![deny(unsafe_code)]

pub mod environment;
pub mod error;
pub mod key;
pub mod resolve;
pub mod spec;
#[allow(unsafe_code)]
pub mod sys;

mod bridge;
mod conductor;
mod ending;
mod endpoint;
mod guardian;
mod input;
pub mod job;
mod node;
mod output;
mod ranks;
pub mod report;
pub mod server;
pub mod signals;
mod sink;
mod timeline;
