//! The server's side: bytes of a client in, requests out; answers in, bytes to the client out.

mod reply;
mod request;
mod ticket;

pub use reply::Reply;
pub use request::{Command, Request, Spawn};
pub use ticket::Ticket;

use crate::Violation;

/// What has come from one client and is not handled yet.
#[derive(Debug, Default)]
pub struct Connection {
    bytes: Vec<u8>,
}

impl Connection {
    /// For a new client.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to read the client's next bytes into; never empty. Call [`Self::next`] until it has no more requests
    /// before asking for more room.
    pub fn room(&mut self) -> &mut [u8] {
        self.bytes.resize(4096, 0);
        &mut self.bytes
    }

    /// Says that the first `n` bytes of [`Self::room`] are filled.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.bytes.len());
    }

    /// The next request that has come in whole.
    ///
    /// # Errors
    /// If the client breaks the protocol; the same error comes again from then on.
    #[allow(clippy::should_implement_trait, reason = "it borrows from the connection")]
    pub fn next(&mut self) -> Result<Option<(Ticket, Request<'_>)>, Violation> {
        Ok(None)
    }
}

/// Appends the answer to the request that `ticket` stands for.
pub fn write(ticket: Ticket, reply: &Reply<'_>, out: &mut Vec<u8>) {
    let _ = (ticket, reply, out);
}
