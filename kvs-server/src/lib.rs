//! The per-job key-value server of pmi-adapter: see `ARCHITECTURE.md`. The binary is a shell around these
//! modules; launchers use `control`.

pub mod args;
pub mod channel;
pub mod control;
pub mod inherit;
pub mod serve;
