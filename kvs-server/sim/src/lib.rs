//! The protocol of pmi-adapter under a seeded network and seeded faults.
//!
//! [`world::run`] plays one seed: the state machines of `pmi-protocol` run for every node and for the server,
//! in one virtual time, over a network that loses, doubles, delays, reorders and cuts off; the server crashes
//! and is restarted on its logs, delegates are replaced, ranks die, and datagrams are forged. The
//! [`checker`] knows nothing but the contract of PMI and is told only what ranks do and see.
//!
//! [`report::measure`] counts what a barrier costs the server, without faults, for any number of nodes.
#![forbid(unsafe_code)]

pub mod board;
pub mod checker;
pub mod dice;
pub mod host;
pub mod plan;
pub mod queue;
pub mod report;
pub mod script;
pub mod trace;
pub mod wire;
pub mod world;
