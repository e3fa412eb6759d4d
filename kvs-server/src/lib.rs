//! The per-job key-value server of pmi-adapter: see `ARCHITECTURE.md`. The binary is a shell around these
//! modules; launchers use `control`, `memory` and `sockets`.

pub mod args;
pub mod channel;
pub mod control;
pub mod inherit;
pub mod memory;
pub mod serve;
pub mod sockets;
pub mod udp;
