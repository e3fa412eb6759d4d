//! The board of a node and the session of a rank: see `ARCHITECTURE.md`.

pub mod session;
