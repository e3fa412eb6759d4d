//! The per-job key-value server of pmi-adapter: see `ARCHITECTURE.md`.

pub mod control;
