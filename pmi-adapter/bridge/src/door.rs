//! `PMI_PORT`: connections over TCP on loopback, from whoever shows a `PMI_ID` that we gave out.
//!
//! Any user of the host can connect. The `PMI_ID` is a random number of 31 bits, different for each rank, that only
//! the rank's own environment holds; each wrong guess costs a pause of [`PAUSE`] for everybody. What this does not protect
//! against: root, the user's own processes, and eavesdroppers with the right to read loopback traffic (root again). A
//! stranger can keep ranks from connecting in time, but cannot read or write pairs.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::desk::ClientId;

/// How long nobody is let in for each wrong `PMI_ID`: 2^31 guesses take seven years.
pub const PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may take to show its `PMI_ID`. Clients do so at once.
pub const INTRODUCTION: Duration = Duration::from_secs(10);

/// Most connections that have not shown one yet: more than ranks that a host starts at once.
pub const STRANGERS_MAX: usize = 1024;

/// A listener for the ranks of this host.
pub fn listen() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// A new `PMI_ID`: a number that clients can keep in an `int`.
pub fn random_id() -> io::Result<u32> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes) >> 1)
}

/// The listener, and those who have come through it and are not known yet.
pub struct Door {
    listener: TcpListener,
    strangers: Vec<(ClientId, Instant)>,
    closed_until: Option<Instant>,
}

impl Door {
    /// A door with this listener.
    pub fn new(listener: TcpListener) -> io::Result<Door> {
        listener.set_nonblocking(true)?;
        Ok(Door { listener, strangers: Vec::new(), closed_until: None })
    }

    /// Lets the next one in, if there is one and the door is open.
    pub fn accept(&mut self) -> Option<OwnedFd> {
        if self.is_closed() {
            return None;
        }
        let socket = match self.listener.accept() {
            Ok((socket, _)) => socket,
            // A connection that was given up before we came is none.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => return None,
            Err(_) => {
                // Too many open files: that passes by, and until then the listener would wake us all the time.
                self.close_for(PAUSE);
                return None;
            }
        };
        // Requests are small, and each waits for its answer.
        socket.set_nodelay(true).ok()?;
        Some(socket.into())
    }

    /// Is it closed, after a wrong `PMI_ID` or because too many have not shown theirs?
    pub fn is_closed(&self) -> bool {
        self.closed_until.is_some_and(|until| Instant::now() < until)
            || self.strangers.len() >= STRANGERS_MAX
    }

    /// Somebody has come in, and has not said who it is.
    pub fn watch(&mut self, client: ClientId) {
        self.strangers.push((client, Instant::now() + INTRODUCTION));
    }

    /// The connection is known now, or has ended.
    pub fn forget(&mut self, client: ClientId) {
        self.strangers.retain(|(stranger, _)| *stranger != client);
    }

    /// Somebody has shown a wrong `PMI_ID`.
    ///
    /// Pauses add up: who has many connections guesses no faster than who has one.
    pub fn distrust(&mut self) {
        self.close_for(PAUSE);
    }

    fn close_for(&mut self, pause: Duration) {
        let now = Instant::now();
        self.closed_until = Some(self.closed_until.unwrap_or(now).max(now) + pause);
    }

    /// The connections that have taken too long to say who they are.
    pub fn overdue(&self) -> Vec<ClientId> {
        let now = Instant::now();
        self.strangers.iter().filter(|(_, due)| *due <= now).map(|(client, _)| *client).collect()
    }

    /// When to look again.
    pub fn deadline(&self) -> Option<Instant> {
        let first = self.strangers.first().map(|(_, due)| *due);
        let now = Instant::now();
        first.into_iter().chain(self.closed_until.filter(|until| *until > now)).min()
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
