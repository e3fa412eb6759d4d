//! The bridge: serves programs that carry their own PMI client, over `PMI_FD` or `PMI_PORT`, from the board.
//!
//! One process with one event loop speaks for several ranks of its host: [`plan`] says for whom, [`serve::run`] does
//! it. `pmi-ssh` forks one for all its ranks, `pmi-exec` one for the program that it becomes. README.md has the
//! picture.
#![deny(unsafe_code)]

mod client;
mod desk;
pub mod door;
mod ending;
mod idle;
pub mod layout;
mod meeting;
mod node_agent;
pub mod offer;
pub mod plan;
pub mod poller;
mod ring;
pub mod serve;
#[allow(unsafe_code)]
pub mod sys;
pub mod task;
mod waiter;
pub mod words;
