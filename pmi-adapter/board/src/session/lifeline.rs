//! The node's lifeline: a connection to the server on which nothing is ever sent. This host's kernel answers for it, even
//! while all ranks compute or have been stopped, so that the server can tell a node that is silent from one that is gone.
//!
//! One process of the node has it, and a word on the board says which connection it is. Nobody ever waits for it, and
//! whatever fails about it is no error: then only a crash of this host is not noticed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::Ipv6V6Only;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
};
use nix::time::{ClockId, clock_gettime};
use pmi_protocol::exchange::{Exchange, Goal};
use pmi_protocol::limits::{LIFELINE_BREAK_US, LIFELINE_RENEW_US, SERVER_DOUBT_US, SERVER_LOST_US};
use pmi_protocol::ranks::RankRanges;

use super::courier::Courier;
use super::node::Node;
use super::{Error, lock};
use crate::Failure;

/// Seconds in which a node opens no second lifeline.
const RENEW_S: u32 = (LIFELINE_RENEW_US / 1_000_000) as u32;

/// After a sign of life of the server's host, and before it is asked for another one.
const PAUSE: Duration = Duration::from_micros(SERVER_DOUBT_US);

/// What the board says of the node's lifeline. All zero: nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Word {
    /// Its local port, or zero.
    port: u16,
    /// Index of the server's address among those that the ranks were given.
    server: u8,
    /// The server has had it: TCP is not blocked on the way.
    proven: bool,
    /// The server is on this host, and needs no lifeline.
    near: bool,
    /// When it was opened: second of the monotonic clock, + 1.
    opened: u32,
}

impl Word {
    const PROVEN: u64 = 1 << 24;
    const NEAR: u64 = 1 << 25;

    fn of(bits: u64) -> Word {
        Word {
            port: bits as u16,
            server: (bits >> 16) as u8,
            proven: bits & Word::PROVEN != 0,
            near: bits & Word::NEAR != 0,
            opened: (bits >> 32) as u32,
        }
    }

    fn bits(self) -> u64 {
        let proven = if self.proven { Word::PROVEN } else { 0 };
        let near = if self.near { Word::NEAR } else { 0 };
        u64::from(self.opened) << 32
            | near
            | proven
            | u64::from(self.server) << 16
            | u64::from(self.port)
    }
}

/// What this process has to do with its node's lifeline.
#[derive(Debug, Default)]
pub(super) struct Lifeline {
    /// Bound, so that a Hello can name its port; not connected.
    reserved: Option<TcpStream>,
    /// The node's lifeline, if this process has it.
    held: Option<TcpStream>,
    doubt: Option<Doubt>,
}

/// The server is silent. Does its host answer?
#[derive(Debug)]
struct Doubt {
    /// No attempt to connect has been answered since.
    since: Instant,
    attempt: Option<TcpStream>,
    /// When to try next.
    next: Instant,
}

impl Node {
    /// Lets an exchange name the node's lifeline. Whoever greets the server makes one that it can name.
    pub(super) fn claim_line(&self, exchange: &mut Exchange<SocketAddr>, goal: &Goal) {
        let word = self.line_word();
        let port = match goal {
            Goal::Join if word == Word::default() => self.reserve_line(),
            _ => Some(word.port),
        };
        exchange.claim_line(port.unwrap_or(0));
    }

    fn line_word(&self) -> Word {
        Word::of(self.board.line_word())
    }

    fn reserve_line(&self) -> Option<u16> {
        if self.config.servers.iter().all(is_near) {
            return None;
        }
        let ipv6 = self.config.servers.iter().any(SocketAddr::is_ipv6);
        let (stream, port) = reserve(ipv6).inspect_err(complain).ok()?;
        lock(&self.line).reserved = Some(stream);
        Some(port)
    }

    /// The last rank of the node to join tells the server who they all are, once and without waiting, so that it can name
    /// them if this host crashes before they have entered a barrier.
    pub(super) fn introduce_peers(&self, courier: &Courier) {
        let mut start = self.start(0);
        start.ranks = RankRanges::from_ranks(self.board.members().iter().map(|peer| peer.rank));
        // Not to join: the lifeline is that of the rank that did.
        courier.announce(&self.exchange(courier, Goal::Barrier, start));
    }

    /// Is there anybody to be introduced, by the one who asks, to a server on another host?
    pub(super) fn has_peers_to_introduce(&self) -> bool {
        let loopback = |server: &SocketAddr| server.ip().to_canonical().is_loopback();
        self.board.all_have_joined()
            && self.config.local_size > Some(1)
            && !self.board.is_private()
            && !self.line_word().near
            && !self.config.servers.iter().all(loopback)
    }

    /// Sees to it that the server has a lifeline of this node, if it says that it has none. Call it when nobody waits.
    pub(super) fn tend_line(&self, courier: &Courier, exchange: &mut Exchange<SocketAddr>) {
        match exchange.watched() {
            None => lock(&self.line).reserved = None,
            Some(true) => {
                let word = self.line_word();
                if !word.proven {
                    self.board.replace_line_word(word.bits(), Word { proven: true, ..word }.bits());
                }
            }
            Some(false) => self.renew_line(courier, exchange),
        }
    }

    fn renew_line(&self, courier: &Courier, exchange: &mut Exchange<SocketAddr>) {
        let (word, now) = (self.line_word(), seconds());
        let [server] = *exchange.servers() else { return };
        if word.near || (word.opened != 0 && now < word.opened + RENEW_S) {
            return;
        }
        if is_near(&server) {
            let near = Word { near: true, ..Word::default() };
            self.board.replace_line_word(word.bits(), near.bits());
            lock(&self.line).reserved = None;
            return;
        }
        let index = self.config.servers.iter().position(|address| *address == server);
        let Some(index) = index.and_then(|index| u8::try_from(index).ok()) else { return };
        let announced = lock(&self.line).reserved.is_some();
        let Some((stream, port)) = self.connect_line(server) else { return };
        let new = Word { port, server: index, opened: now, ..word };
        if self.board.replace_line_word(word.bits(), new.bits()) {
            lock(&self.line).held = Some(stream);
            exchange.claim_line(port);
            if !announced && exchange.outcome().is_some() {
                courier.announce(exchange);
            }
        }
    }

    fn connect_line(&self, server: SocketAddr) -> Option<(TcpStream, u16)> {
        let reserved = lock(&self.line).reserved.take();
        let made = match reserved {
            Some(stream) => stream.local_addr().map(|address| (stream, address.port())),
            None => reserve(server.is_ipv6()),
        };
        let connected = made.and_then(|(stream, port)| {
            start_connecting(&stream, server)?;
            Ok((stream, port))
        });
        connected.inspect_err(complain).ok()
    }

    /// The server has been silent for so long. Is its host gone? An error is the end of the job on this node.
    pub(super) fn doubt_server(&self, silent: Duration) -> Result<(), Error> {
        let mut line = lock(&self.line);
        if silent < Duration::from_micros(SERVER_DOUBT_US) {
            line.doubt = None;
            return Ok(());
        }
        let word = self.line_word();
        let Some(server) = self.config.servers.get(usize::from(word.server)) else { return Ok(()) };
        if !word.proven || word.near {
            return Ok(());
        }
        let unanswered = line.doubt.get_or_insert_with(Doubt::new).look(*server);
        if silent < Duration::from_micros(SERVER_LOST_US)
            || unanswered < Duration::from_micros(LIFELINE_BREAK_US)
        {
            return Ok(());
        }
        let text = format!(
            "the server's host ({}) does not answer any more: it has crashed, or the network to it is down",
            server.ip()
        );
        self.board.fail(&Failure { code: 1, rank: None, text: text.clone() });
        Err(Error::Timeout(text))
    }
}

impl Doubt {
    fn new() -> Doubt {
        let now = Instant::now();
        Doubt { since: now, attempt: None, next: now }
    }

    /// Tries to connect, or looks what has come of it; returns for how long nothing has been answered.
    fn look(&mut self, server: SocketAddr) -> Duration {
        let now = Instant::now();
        match &self.attempt {
            Some(attempt) => match answer(attempt) {
                None => {}
                Some(Err(error)) if is_unanswered(&error) => {
                    (self.attempt, self.next) = (None, now)
                }
                // It accepts, or refuses: it is there.
                Some(_) => self.answered(now),
            },
            None if now >= self.next => self.attempt(server, now),
            None => {}
        }
        now.saturating_duration_since(self.since)
    }

    fn answered(&mut self, now: Instant) {
        (self.attempt, self.since, self.next) = (None, now + PAUSE, now + PAUSE);
    }

    fn attempt(&mut self, server: SocketAddr, now: Instant) {
        let started = reserve(server.is_ipv6()).and_then(|(stream, _)| {
            start_connecting(&stream, server)?;
            Ok(stream)
        });
        match started {
            Ok(stream) => self.attempt = Some(stream),
            Err(error) if is_unanswered(&error) => {}
            // This process is in want of something; that says nothing of the server.
            Err(_) => self.answered(now),
        }
    }
}

/// Is this address one of this host's?
fn is_near(server: &SocketAddr) -> bool {
    if server.ip().to_canonical().is_loopback() {
        return true;
    }
    // To connect a UDP socket sends nothing: it only chooses the way.
    let probe = UdpSocket::bind((any(server.is_ipv6()), 0)).and_then(|socket| {
        socket.connect(server)?;
        socket.local_addr()
    });
    probe.is_ok_and(|local| local.ip() == server.ip())
}

fn any(ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// A TCP socket with a port, which does not block and ends with this program.
fn reserve(ipv6: bool) -> io::Result<(TcpStream, u16)> {
    let family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    if ipv6 {
        setsockopt(&fd, Ipv6V6Only, &false)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any(ipv6), 0)))?;
    let stream = TcpStream::from(fd);
    let port = stream.local_addr()?.port();
    Ok((stream, port))
}

fn start_connecting(stream: &TcpStream, server: SocketAddr) -> io::Result<()> {
    let server = match server {
        SocketAddr::V4(v4) if stream.local_addr()?.is_ipv6() => {
            (v4.ip().to_ipv6_mapped(), v4.port()).into()
        }
        other => other,
    };
    match connect(stream.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// How an attempt to connect has ended, if it has.
fn answer(stream: &TcpStream) -> Option<io::Result<()>> {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(match stream.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => Ok(()),
        }),
    }
}

fn is_unanswered(error: &io::Error) -> bool {
    let unanswered = [Errno::ETIMEDOUT, Errno::EHOSTUNREACH, Errno::ENETUNREACH, Errno::EHOSTDOWN];
    error.raw_os_error().is_some_and(|code| unanswered.contains(&Errno::from_raw(code)))
}

fn complain(error: &io::Error) {
    tracing::debug!(%error, "no lifeline: a crash of this host will not be noticed");
}

fn seconds() -> u32 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.tv_sec() as u32) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_word_keeps_what_it_is_given() {
        let word = Word { port: 65_535, server: 255, proven: true, near: false, opened: u32::MAX };
        let near = Word { near: true, ..Word::default() };
        for word in [word, near, Word::default(), Word { proven: false, ..word }] {
            assert_eq!(Word::of(word.bits()), word);
        }
        assert_eq!(Word::default().bits(), 0);
    }

    #[test]
    fn addresses_of_this_host_are_near() {
        assert!(is_near(&"127.0.0.1:9".parse().unwrap()));
        assert!(is_near(&"[::1]:9".parse().unwrap()));
        // TEST-NET-1 (RFC 5737) is nobody's.
        assert!(!is_near(&"192.0.2.1:9".parse().unwrap()));
    }

    #[test]
    fn a_host_that_accepts_or_refuses_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut doubt = Doubt::new();
        for accepts in [true, false] {
            doubt.attempt(address, Instant::now());
            while doubt.attempt.is_some() {
                doubt.look(address);
            }
            assert!(doubt.next > Instant::now(), "accepts: {accepts}");
            doubt.next = Instant::now();
            if accepts {
                drop(listener.accept());
            }
        }
    }

    #[test]
    fn a_lifeline_comes_from_the_port_that_was_reserved() {
        for ipv6 in [false, true] {
            let Ok((stream, port)) = reserve(ipv6) else { continue };
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            start_connecting(&stream, listener.local_addr().unwrap()).unwrap();
            assert_eq!(listener.accept().unwrap().1.port(), port);
        }
    }
}
