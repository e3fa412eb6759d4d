//! The protocol of pmi-adapter without sockets, clock, threads or `unsafe`: time and bytes go in; datagrams,
//! deadlines and events come out. See `ARCHITECTURE.md` for the idea and the formats.
#![forbid(unsafe_code)]

pub mod limits;
pub mod mapping;
pub mod ranks;
pub mod record;
