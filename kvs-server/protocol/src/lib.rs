//! The protocol of pmi-adapter without sockets, clock, threads or `unsafe`: time and bytes go in; datagrams,
//! deadlines and events come out. See `ARCHITECTURE.md` for the idea and the formats.
#![forbid(unsafe_code)]

pub mod datagram;
pub mod exchange;
pub mod key;
pub mod limits;
pub mod log;
pub mod mapping;
pub mod pace;
pub mod ranks;
pub mod received;
pub mod record;
pub mod server;
