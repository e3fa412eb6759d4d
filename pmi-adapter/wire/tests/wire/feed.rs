//! Ways to give bytes to the engines.

use pmi_wire::Violation;
use pmi_wire::client::{Answer, Client};
use pmi_wire::server::{Connection, Request, Ticket};

/// An engine that takes bytes.
pub trait Engine {
    fn space(&mut self) -> &mut [u8];
    fn filled(&mut self, n: usize);

    /// Gives it as many of `bytes` as it has room for, and says how many that were.
    fn feed(&mut self, bytes: &[u8]) -> usize {
        let room = self.space();
        assert!(!room.is_empty(), "there is always room");
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.filled(n);
        n
    }
}

impl Engine for Connection {
    fn space(&mut self) -> &mut [u8] {
        self.room()
    }

    fn filled(&mut self, n: usize) {
        self.advance(n);
    }
}

impl Engine for Client {
    fn space(&mut self) -> &mut [u8] {
        self.room()
    }

    fn filled(&mut self, n: usize) {
        self.advance(n);
    }
}

/// Gives `bytes` to a server in pieces of at most `piece`, and each request to `take`.
pub fn serve(
    connection: &mut Connection,
    mut bytes: &[u8],
    piece: usize,
    mut take: impl FnMut(Ticket, Request<'_>),
) -> Result<(), Violation> {
    while !bytes.is_empty() {
        let n = connection.feed(&bytes[..piece.min(bytes.len())]);
        bytes = &bytes[n..];
        while let Some((ticket, request)) = connection.next()? {
            take(ticket, request);
        }
    }
    Ok(())
}

/// Gives `bytes` to a client in pieces of at most `piece`, and each answer to `take`.
pub fn answer(
    client: &mut Client,
    mut bytes: &[u8],
    piece: usize,
    mut take: impl FnMut(Answer<'_>),
) -> Result<(), Violation> {
    while !bytes.is_empty() {
        let n = client.feed(&bytes[..piece.min(bytes.len())]);
        bytes = &bytes[n..];
        while let Some(answer) = client.next()? {
            take(answer);
        }
    }
    Ok(())
}
