//! The delegate's socket: carries the datagrams of an exchange until it has an outcome.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pmi_protocol::datagram::Outbox;
use pmi_protocol::exchange::{Exchange, Identity, Outcome, verdict};
use pmi_protocol::limits::DATAGRAM_MAX;
use pmi_protocol::pace::Micros;

use super::Error;
use crate::Delegate;

/// Between two looks at the health of the ranks on this node.
pub(super) const SWEEP: Duration = Duration::from_millis(250);

/// Bytes of the receive buffer: a datagram fits, and so large an allocation comes as fresh zero pages, of which
/// only those are touched that a datagram fills. A delegate opens its socket while all others wait.
const BUFFER: usize = 256 * 1024;

const _: () = assert!(BUFFER > DATAGRAM_MAX, "a datagram that is too long is seen to be too long");

/// What else has to be looked after while a delegate waits.
pub(super) trait Watch {
    /// Something woke the delegate, or its timer did.
    fn look(&mut self, courier: &Courier, exchange: &mut Exchange<SocketAddr>)
    -> Result<(), Error>;

    /// Time for a look at the peers; the server has been silent for so long.
    fn sweep(
        &mut self,
        courier: &Courier,
        exchange: &mut Exchange<SocketAddr>,
        silent: Duration,
    ) -> Result<(), Error>;

    /// When to give up.
    fn deadline(&self) -> Option<Instant>;
}

/// The logs that an exchange reads from and writes to.
pub(super) trait Logs {
    /// Appends the up-log's bytes `[offset, offset + len)` to `out`.
    fn read_up(&self, offset: u64, len: usize, out: &mut Vec<u8>);

    /// Takes in down-log bytes.
    fn write_down(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error>;
}

impl Logs for Delegate<'_> {
    fn read_up(&self, offset: u64, len: usize, out: &mut Vec<u8>) {
        self.up_read(offset, len, out);
    }

    fn write_down(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.down_write(offset, bytes).map_err(|error| Error::Full(error.to_string()))
    }
}

/// For goals that carry no log.
pub(super) struct NoLogs;

impl Logs for NoLogs {
    fn read_up(&self, _: u64, _: usize, _: &mut Vec<u8>) {}

    fn write_down(&mut self, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

/// A UDP socket with its buffers and its clock.
pub(super) struct Courier {
    socket: UdpSocket,
    ipv6: bool,
    port: u16,
    servers: Vec<SocketAddr>,
    origin: Instant,
    buffer: Vec<u8>,
    outbox: Outbox<SocketAddr>,
}

impl Courier {
    /// Opens a socket from which all the server's addresses can be reached.
    pub fn open(servers: &[SocketAddr]) -> Result<Courier, Error> {
        let ipv6 = servers.iter().any(SocketAddr::is_ipv6);
        let any: IpAddr = match ipv6 {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket =
            socket.map_err(|error| Error::System(format!("cannot open a UDP socket: {error}")))?;
        let port = socket.local_addr().map_err(|error| Error::System(error.to_string()))?.port();
        Ok(Courier {
            socket,
            ipv6,
            port,
            servers: servers.to_vec(),
            origin: Instant::now(),
            buffer: vec![0; BUFFER],
            outbox: Outbox::default(),
        })
    }

    /// The socket's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The addresses to use: one as soon as the server has answered.
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.servers.clone()
    }

    /// The exchange's time.
    pub fn now(&self) -> Micros {
        self.origin.elapsed().as_micros() as Micros
    }

    /// Wakes the delegate that waits on `port` of this host.
    pub fn poke(&self, port: u16) {
        self.send(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), &[]);
    }

    /// Says once who the node is and which connection its lifeline; there is nothing to wait for.
    pub fn announce(&self, exchange: &Exchange<SocketAddr>) {
        let mut outbox = Outbox::default();
        exchange.announce(&mut outbox);
        outbox.iter().for_each(|(to, bytes)| self.send(to, bytes));
    }

    fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let to = match to {
            SocketAddr::V4(v4) if self.ipv6 => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            other => other,
        };
        if let Err(error) = self.socket.send_to(bytes, to) {
            tracing::debug!(%error, %to, "a datagram could not be sent; it will be repeated");
        }
    }

    /// Conducts an exchange to its outcome.
    pub fn run(
        &mut self,
        exchange: &mut Exchange<SocketAddr>,
        logs: &mut impl Logs,
        watch: &mut impl Watch,
    ) -> Result<Outcome, Error> {
        let mut heard = Instant::now();
        let mut sweep = heard + SWEEP;
        loop {
            self.transmit(exchange, logs);
            if let Some(outcome) = exchange.outcome() {
                let outcome = outcome.clone();
                self.keep_servers(exchange);
                return Ok(outcome);
            }
            self.wait(exchange, sweep, watch.deadline())?;
            if self.receive(exchange, logs)? {
                heard = Instant::now();
            }
            if exchange.outcome().is_none() {
                watch.look(self, exchange)?;
                if Instant::now() >= sweep {
                    watch.sweep(self, exchange, heard.elapsed())?;
                    sweep = Instant::now() + SWEEP;
                }
            }
        }
    }

    /// Goes on with that address of the server which has answered.
    pub fn keep_servers(&mut self, exchange: &Exchange<SocketAddr>) {
        self.servers = exchange.servers().to_vec();
    }

    /// When an exchange wants to transmit next.
    pub fn due(&self, exchange: &Exchange<SocketAddr>) -> Instant {
        self.origin + Duration::from_micros(exchange.due())
    }

    /// Sends all that is due.
    pub fn transmit(&mut self, exchange: &mut Exchange<SocketAddr>, logs: &impl Logs) {
        let mut read_up = |offset, len, out: &mut Vec<u8>| logs.read_up(offset, len, out);
        exchange.transmit(self.now(), &mut read_up, &mut self.outbox);
        self.outbox.iter().for_each(|(to, bytes)| self.send(to, bytes));
        self.outbox.clear();
    }

    fn wait(
        &self,
        exchange: &Exchange<SocketAddr>,
        sweep: Instant,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let until = deadline.into_iter().fold(self.due(exchange).min(sweep), Instant::min);
        self.sleep(until.saturating_duration_since(Instant::now()))
    }

    /// Waits for a datagram.
    pub fn sleep(&self, limit: Duration) -> Result<(), Error> {
        let millis = limit.as_millis().min(SWEEP.as_millis()) as u16 + 1;
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(Error::System(format!("cannot wait for the server: {error}"))),
        }
    }

    /// Takes in all that has come; true if any of it came from the server.
    pub fn receive(
        &mut self,
        exchange: &mut Exchange<SocketAddr>,
        logs: &mut impl Logs,
    ) -> Result<bool, Error> {
        let mut heard = false;
        while exchange.outcome().is_none() {
            let (len, from) = match self.receive_one() {
                Ok(Some(received)) => received,
                Ok(None) => break,
                Err(error) => return Err(Error::System(format!("cannot receive: {error}"))),
            };
            heard |= len > 0;
            let now = self.now();
            if let Some((offset, bytes)) = exchange.handle(now, from, &self.buffer[..len]) {
                logs.write_down(offset, bytes)?;
            }
        }
        Ok(heard)
    }

    /// Takes in what has come while nothing is asked: pokes, answers that came twice, and the end of the job.
    pub fn listen(&mut self, identity: &Identity) -> Option<Outcome> {
        while let Ok(Some((len, _))) = self.receive_one() {
            if let Some(end) = verdict(identity, &self.buffer[..len]) {
                return Some(end);
            }
        }
        None
    }

    fn receive_one(&mut self) -> io::Result<Option<(usize, SocketAddr)>> {
        match self.socket.recv_from(&mut self.buffer) {
            Ok((len, from)) => {
                Ok(Some((len, SocketAddr::new(from.ip().to_canonical(), from.port()))))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Courier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
