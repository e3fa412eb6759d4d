//! A stream to the server: whole messages out, bytes in, with deadlines. Nothing here knows the protocol.
//!
//! The descriptor at `PMI_FD` is the starter's: its flags stay as they are (a program that this one starts may
//! want it too), and it is not closed. So no call relies on its mode: each says `MSG_DONTWAIT` and waits in `poll`.

use std::fmt;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::environment::Port;
use crate::environment::descriptor;

/// How long to try one address of a server on TCP, if `PMI_TIMEOUT` does not say. It runs on this host or in
/// this cluster: what does not answer in this time is behind a firewall.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// A connected stream socket.
pub(super) struct Connection {
    socket: Socket,
    name: String,
}

enum Socket {
    /// The starter's, at `PMI_FD`.
    Inherited(BorrowedFd<'static>),
    /// Ours, closed in programs that this one starts.
    Own(TcpStream),
}

/// Why nothing goes through the connection any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The server has closed its end.
    Closed,
    /// An error of the operating system.
    Errno(Errno),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Closed | Broken::Errno(Errno::EPIPE | Errno::ECONNRESET) => {
                f.write_str("has closed the connection")
            }
            Broken::Errno(errno) => write!(f, "cannot be reached: {}", errno.desc()),
        }
    }
}

impl Connection {
    /// The one at `PMI_FD`.
    pub(super) fn inherited(number: i32) -> Result<Connection, String> {
        let descriptor = descriptor::borrow(number)
            .ok_or_else(|| format!("PMI_FD={number} has been closed meanwhile"))?;
        Ok(Connection { socket: Socket::Inherited(descriptor), name: format!("PMI_FD={number}") })
    }

    /// A new one, to the first address that answers.
    pub(super) fn open(port: &Port, timeout: Option<Duration>) -> Result<Connection, String> {
        let name = format!("PMI_PORT={}:{}", port.host, port.port);
        let problem = |error| format!("{name}: {error}: is the starter still running?");
        let addresses = (port.host.as_str(), port.port).to_socket_addrs().map_err(problem)?;
        let mut outcome = Err(std::io::ErrorKind::AddrNotAvailable.into());
        for address in addresses {
            outcome = TcpStream::connect_timeout(&address, timeout.unwrap_or(CONNECT_PATIENCE));
            if outcome.is_ok() {
                break;
            }
        }
        let stream = outcome.map_err(problem)?;
        // Each message is written whole and answered: there is nothing to gather.
        stream.set_nodelay(true).map_err(problem)?;
        Ok(Connection { socket: Socket::Own(stream), name })
    }

    /// The variable that led here, and its value.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Inherited(descriptor) => *descriptor,
            Socket::Own(stream) => stream.as_fd(),
        }
    }

    /// Sends everything. False if the deadline passes first; then part of it may have been sent.
    pub(super) fn send(&self, mut bytes: &[u8], deadline: Option<Instant>) -> Result<bool, Broken> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        while !bytes.is_empty() {
            match send(self.descriptor().as_raw_fd(), bytes, flags) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::EAGAIN) => {
                    if !self.wait(PollFlags::POLLOUT, deadline)? {
                        return Ok(false);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Broken::Errno(errno)),
            }
        }
        Ok(true)
    }

    /// Reads what is there, at least one byte. `None` if the deadline passes first.
    pub(super) fn receive(
        &self,
        room: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<Option<usize>, Broken> {
        loop {
            match recv(self.descriptor().as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(Broken::Closed),
                Ok(received) => return Ok(Some(received)),
                Err(Errno::EAGAIN) => {
                    if !self.wait(PollFlags::POLLIN, deadline)? {
                        return Ok(None);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Broken::Errno(errno)),
            }
        }
    }

    /// Has the server closed its end, with nothing left to read? Takes nothing from the stream.
    pub(super) fn is_closed(&self) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
        match recv(self.descriptor().as_raw_fd(), &mut [0], flags) {
            Ok(received) => received == 0,
            Err(errno) => !matches!(errno, Errno::EAGAIN | Errno::EINTR),
        }
    }

    /// Waits until the socket is ready, or in error, which the next call tells. False if the deadline passes first.
    fn wait(&self, events: PollFlags, deadline: Option<Instant>) -> Result<bool, Broken> {
        let mut sockets = [PollFd::new(self.descriptor(), events)];
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match poll(&mut sockets, timeout_of(left)) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(Broken::Errno(errno)),
            }
        }
    }
}

/// Rounded up, so that nobody polls without pause in the last millisecond; at most what `poll` can take.
fn timeout_of(left: Option<Duration>) -> PollTimeout {
    let Some(left) = left else { return PollTimeout::NONE };
    let milliseconds = left.as_millis() + u128::from(left.subsec_nanos() % 1_000_000 != 0);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A connection at a descriptor that outlives it, and the server's end.
    fn pair() -> (Connection, UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Connection::inherited(ours.as_raw_fd()).unwrap(), ours, theirs)
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(2))
    }

    #[test]
    fn bytes_go_both_ways() {
        let (connection, _ours, mut theirs) = pair();
        assert_eq!(connection.send(b"cmd", None), Ok(true));
        let mut buffer = [0; 8];
        assert_eq!(theirs.read(&mut buffer).unwrap(), 3);
        theirs.write_all(b"answer").unwrap();
        assert_eq!(connection.receive(&mut buffer, None), Ok(Some(6)));
        assert!(!connection.is_closed());
    }

    #[test]
    fn deadlines_pass_in_both_directions() {
        let (connection, _ours, _theirs) = pair();
        assert_eq!(connection.receive(&mut [0; 8], soon()), Ok(None));
        assert_eq!(connection.send(&vec![0; 1 << 24], soon()), Ok(false));
    }

    #[test]
    fn a_server_that_is_gone_is_an_error_and_no_signal() {
        let (connection, _ours, theirs) = pair();
        drop(theirs);
        assert!(connection.is_closed());
        assert_eq!(connection.receive(&mut [0; 8], None), Err(Broken::Closed));
        assert_eq!(connection.send(b"cmd", None), Err(Broken::Errno(Errno::EPIPE)));
    }

    #[test]
    fn the_starters_descriptor_is_left_open_and_as_it_was() {
        let (connection, ours, mut theirs) = pair();
        drop(connection);
        (&ours).write_all(b"x").unwrap();
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 1);
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        drop(listener);
        let port = Port { host: "127.0.0.1".into(), port: number, id: "0".into() };
        let error = Connection::open(&port, None).map(drop).unwrap_err();
        assert!(error.contains(&format!("PMI_PORT=127.0.0.1:{number}")), "{error}");
        assert!(error.contains("still running"), "{error}");
    }
}
