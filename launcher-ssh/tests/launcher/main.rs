//! `pmi-ssh` as its users meet it: the real program, the real server, real processes.

mod endings;
mod environment;
mod harness;
mod remains;
mod signals;
mod streams;
mod supervision;
mod usage;
