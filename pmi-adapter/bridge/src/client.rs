//! One client's connection: bytes in, bytes out, never waiting.
//!
//! On a socket pair, requests are looked at first (`MSG_PEEK`) and taken out of the queue only after their answer has
//! been sent. To take them out at once would wake the client once more than needed, as it sleeps in `read` on the very
//! socket that has become writable again (`unix_write_space` in the kernel wakes readers too): two context switches
//! for nothing with every request.
//!
//! What stays in the queue is room that the client cannot write to, and each of its writes takes up far more than its
//! bytes: a client that writes byte by byte fills its share with some 200. So nothing stays of a request that has not
//! come in whole, and what was answered stays for a moment only ([`Client::let_go`]).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use pmi_wire::Dialect;
use pmi_wire::server::Connection;

use crate::poller::Interest;
use crate::sys;

/// What has become of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// There are new bytes.
    Something,
    /// Nothing has come yet.
    Nothing,
    /// The client has closed its end.
    End,
}

/// What has become of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    All,
    /// The client does not read: the rest waits until it does.
    Part,
    /// The client is gone.
    Nothing,
}

/// Bytes that may stay in the queue of a socket although they have been looked at, if the client has been answered.
/// A client can have some 200 KiB under way.
const HELD_MAX: usize = 2048;

/// A connection.
pub struct Client {
    socket: OwnedFd,
    /// Does the kernel keep the place up to which we have looked (`SO_PEEK_OFF`)?
    peeks: bool,
    /// Bytes that have been looked at, and are still in the queue.
    held: usize,
    /// May there be more to read than the last call took?
    more: bool,
    /// The protocol's state.
    pub connection: Connection,
    /// The seat of the rank that speaks here; `None` until it has shown its `PMI_ID`.
    pub seat: Option<usize>,
    /// The dialect that its `init` asked for.
    pub dialect: Dialect,
    /// Answers to be sent.
    pub out: Vec<u8>,
    /// Answers that the client does not take.
    pub blocked: bool,
}

impl Client {
    /// A new connection. That of a seat is one of a socket pair.
    pub fn new(socket: OwnedFd, seat: Option<usize>) -> Client {
        Client {
            peeks: seat.is_some() && sys::keep_peek_offset(socket.as_fd()).is_ok(),
            held: 0,
            more: false,
            socket,
            connection: Connection::new(),
            seat,
            dialect: Dialect::V1,
            out: Vec::new(),
            blocked: false,
        }
    }

    /// What to watch it for. What has been looked at counts as readable, so only news must wake us.
    pub fn interest(&self) -> Interest {
        match (self.blocked, self.peeks) {
            (true, _) => Interest::Write,
            (false, true) => Interest::News,
            (false, false) => Interest::Read,
        }
    }

    /// Reads what has come. A connection that cannot be read from has ended.
    pub fn read(&mut self) -> Heard {
        let fd = self.socket.as_raw_fd();
        let room = self.connection.room();
        let size = room.len();
        let peek = if self.peeks { MsgFlags::MSG_PEEK } else { MsgFlags::empty() };
        self.more = false;
        match recv(fd, room, MsgFlags::MSG_DONTWAIT | peek) {
            Ok(count) if count > 0 => {
                self.more = count == size && self.peeks;
                self.connection.advance(count);
                if self.peeks {
                    self.held += count;
                }
                Heard::Something
            }
            Err(Errno::EAGAIN) => Heard::Nothing,
            Err(Errno::EINTR) => {
                self.more = self.peeks;
                Heard::Nothing
            }
            _ => Heard::End,
        }
    }

    /// May there be something to read of which no news will tell? Then it must be watched for anew.
    pub fn has_more(&self) -> bool {
        self.more && !self.blocked
    }

    /// Is anything that has been looked at still in the queue?
    pub fn holds(&self) -> bool {
        self.held > 0
    }

    /// Takes everything that has been looked at out of the queue.
    pub fn let_go(&mut self) {
        self.take_out(0);
    }

    /// Takes what has been looked at out of the queue if it is more than `limit`.
    fn take_out(&mut self, limit: usize) {
        let mut scratch = [0; 4096];
        while self.held > limit {
            let part = self.held.min(scratch.len());
            match recv(self.socket.as_raw_fd(), &mut scratch[..part], MsgFlags::MSG_DONTWAIT) {
                Ok(count) if count > 0 => self.held -= count,
                Err(Errno::EINTR) => {}
                // It was there a moment ago: the connection is broken, as the next read will tell.
                _ => self.held = 0,
            }
        }
    }

    /// Sends the answers.
    pub fn flush(&mut self) -> Sent {
        while !self.out.is_empty() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.socket.as_raw_fd(), &self.out, flags) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Sent::Part,
                Err(_) => return Sent::Nothing,
            }
        }
        self.take_out(HELD_MAX);
        Sent::All
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
