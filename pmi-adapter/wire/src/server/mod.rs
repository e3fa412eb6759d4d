//! The server's side: bytes of a client in, requests out; answers in, bytes to the client out.

mod answer;
mod connection;
mod parse;
mod reply;
mod request;
mod spawn;
mod ticket;

pub use answer::write;
pub use connection::Connection;
pub use reply::Reply;
pub use request::{Command, Request, Spawn};
pub use ticket::Ticket;
