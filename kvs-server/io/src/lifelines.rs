//! Lifelines: connections of nodes on which nothing is ever sent. A node's kernel answers for its connection as long as the
//! host runs, whatever its processes do; when it does not answer any more, the connection breaks, and the server is told.

use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval};
use pmi_protocol::limits::{
    LIFELINE_IDLE_S, LIFELINE_INTERVAL_S, LIFELINE_PROBES, UNCLAIMED_MAX, UNCLAIMED_US,
};
use pmi_protocol::log::LogMemory;
use pmi_protocol::pace::Micros;
use pmi_protocol::server::Server;

use crate::udp::Client;

/// How often the server is asked again whose the unclaimed connections are.
const LOOK: Duration = Duration::from_millis(250);

/// How long to accept nothing when the process has no descriptor left.
const PAUSE: Duration = Duration::from_secs(1);

/// Events taken per system call.
const BATCH: usize = 64;

/// Tokens from here on are connections; below are listeners, by index.
const FIRST_LINE: u64 = 1 << 16;

struct Line {
    stream: TcpStream,
    from: Client,
    /// Until when a node may claim it; `None`: it is a node's.
    unclaimed: Option<Instant>,
}

/// The listeners and the connections that have come in.
pub struct Lifelines {
    epoll: Epoll,
    listeners: Vec<TcpListener>,
    lines: HashMap<u64, Line>,
    /// Tokens of those that no node has claimed.
    unclaimed: Vec<u64>,
    next: u64,
    /// When to accept again, or to look after unclaimed connections.
    due: Option<Instant>,
    paused: bool,
}

impl std::fmt::Debug for Lifelines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lifelines").field("lines", &self.lines.len()).finish_non_exhaustive()
    }
}

impl Lifelines {
    /// Accepts from these listeners; they must not block. The server says to its nodes that it listens.
    pub fn new<M: LogMemory>(
        listeners: Vec<TcpListener>,
        server: &mut Server<M, Client>,
    ) -> io::Result<Self> {
        if !listeners.is_empty() {
            server.listen();
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut lifelines = Lifelines {
            epoll,
            listeners,
            lines: HashMap::new(),
            unclaimed: Vec::new(),
            next: FIRST_LINE,
            due: None,
            paused: true,
        };
        lifelines.resume()?;
        Ok(lifelines)
    }

    /// Readable when [`look`](Self::look) has something to do.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// When to look at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Accepts what has come, and tells the server which nodes' hosts do not answer any more.
    pub fn look<M: LogMemory>(&mut self, now: Micros, server: &mut Server<M, Client>) {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                token if token >= FIRST_LINE => self.end(token, now, server),
                listener => self.accept(listener as usize, server),
            }
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.tend(now, server);
        }
    }

    fn accept<M: LogMemory>(&mut self, listener: usize, server: &mut Server<M, Client>) {
        for _ in 0..BATCH {
            match self.listeners[listener].accept() {
                Ok((stream, from)) => self.admit(stream, Client::connected_from(from), server),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It ended before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "no connection can be accepted for a while");
                    return self.pause();
                }
            }
        }
    }

    /// Stops to accept, lest the loop spins over a connection that there is no descriptor for.
    fn pause(&mut self) {
        for listener in &self.listeners {
            let _ = self.epoll.delete(listener);
        }
        self.paused = true;
        self.due = Some(Instant::now() + PAUSE);
    }

    fn resume(&mut self) -> io::Result<()> {
        for (index, listener) in self.listeners.iter().enumerate() {
            self.epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        }
        self.paused = false;
        Ok(())
    }

    /// Keeps a connection that a node has claimed, and a few others for a while.
    fn admit<M: LogMemory>(
        &mut self,
        stream: TcpStream,
        from: Client,
        server: &mut Server<M, Client>,
    ) {
        let claimed = server.connected(from);
        if !claimed && self.unclaimed.len() >= UNCLAIMED_MAX {
            return;
        }
        let watched = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        let added = keep_alive(&stream)
            .and_then(|()| Ok(self.epoll.add(&stream, EpollEvent::new(watched, self.next))?));
        if let Err(error) = added {
            tracing::debug!(%error, "a lifeline cannot be watched");
            return server.disconnected(0, from, false);
        }
        let limit = Instant::now() + Duration::from_micros(UNCLAIMED_US);
        let unclaimed = (!claimed).then_some(limit);
        if !claimed {
            self.unclaimed.push(self.next);
            self.due.get_or_insert(Instant::now() + LOOK);
        }
        self.lines.insert(self.next, Line { stream, from, unclaimed });
        self.next += 1;
    }

    /// Something has happened to a connection, which can only be its end: nodes send nothing.
    fn end<M: LogMemory>(&mut self, token: u64, now: Micros, server: &mut Server<M, Client>) {
        let Some(line) = self.lines.remove(&token) else { return };
        self.unclaimed.retain(|other| *other != token);
        if line.unclaimed.is_none() {
            let error = line.stream.take_error().ok().flatten();
            let unanswered = error.is_some_and(|error| is_unanswered(&error));
            server.disconnected(now, line.from, unanswered);
        }
    }

    /// Looks whose the unclaimed connections are, and accepts again.
    fn tend<M: LogMemory>(&mut self, now: Micros, server: &mut Server<M, Client>) {
        self.due = None;
        if self.paused && self.resume().is_err() {
            self.pause();
        }
        for token in std::mem::take(&mut self.unclaimed) {
            let Some(line) = self.lines.get_mut(&token) else { continue };
            if server.connected(line.from) {
                line.unclaimed = None;
            } else if line.unclaimed.is_some_and(|limit| limit <= Instant::now()) {
                self.end(token, now, server);
            } else {
                self.unclaimed.push(token);
            }
        }
        if !self.unclaimed.is_empty() {
            self.due.get_or_insert(Instant::now() + LOOK);
        }
    }
}

/// Lets the kernel ask the other side's kernel whether it is there (`tcp(7)`).
pub fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, TcpKeepIdle, &LIFELINE_IDLE_S)?;
    setsockopt(stream, TcpKeepInterval, &LIFELINE_INTERVAL_S)?;
    setsockopt(stream, TcpKeepCount, &LIFELINE_PROBES)?;
    setsockopt(stream, KeepAlive, &true)?;
    Ok(())
}

/// Is this how a connection ends whose other host does not answer? What a router says of an unreachable host only counts
/// when all questions have gone unanswered (`tcp(7)`).
fn is_unanswered(error: &io::Error) -> bool {
    let unanswered = [Errno::ETIMEDOUT, Errno::EHOSTUNREACH, Errno::ENETUNREACH, Errno::EHOSTDOWN];
    error.raw_os_error().is_some_and(|code| unanswered.contains(&Errno::from_raw(code)))
}
