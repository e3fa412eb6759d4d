//! Batched receiving and sending over the server's sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use pmi_protocol::datagram::Outbox;
use pmi_protocol::exchange::Peer;
use pmi_protocol::limits::DATAGRAM_MAX;

/// Datagrams per system call: enough to drain a burst, few enough that the buffers stay at a megabyte.
const BATCH: usize = 32;

/// How long to wait for room in a socket's send buffer before datagrams are dropped, in milliseconds. Nodes
/// ask again for what they miss.
const SEND_PATIENCE_MS: u16 = 20;

/// A client's address and the socket through which it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    socket: usize,
    address: SocketAddr,
}

impl Client {
    /// Where its datagrams come from, as the socket through which it is reached calls it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Peer for Client {
    fn body_max(&self) -> usize {
        self.address.body_max()
    }

    fn at_port(self, port: u16) -> Self {
        Client::connected_from(self.address.at_port(port))
    }
}

impl Client {
    /// The client whose TCP connection comes from here; which of the server's sockets it took does not matter.
    pub(crate) fn connected_from(address: SocketAddr) -> Self {
        Client { socket: 0, address: address.at_port(address.port()) }
    }
}

/// The sockets with their buffers.
#[derive(Debug)]
pub struct Udp {
    sockets: Vec<UdpSocket>,
    buffers: Vec<Vec<u8>>,
    headers: MultiHeaders<SockaddrStorage>,
    /// Datagrams and bytes that have been sent.
    pub sent: (u64, u64),
}

impl Udp {
    /// Serves these sockets; they must not block.
    pub fn new(sockets: Vec<UdpSocket>) -> Self {
        Udp {
            sockets,
            buffers: vec![vec![0; DATAGRAM_MAX + 1]; BATCH],
            headers: MultiHeaders::preallocate(BATCH, None),
            sent: (0, 0),
        }
    }

    /// The sockets, in order.
    pub fn sockets(&self) -> &[UdpSocket] {
        &self.sockets
    }

    /// Receives up to a batch of datagrams from a socket; true if there may be more.
    pub fn receive(
        &mut self,
        socket: usize,
        mut handle: impl FnMut(Client, &[u8]),
    ) -> io::Result<bool> {
        let mut slices: Vec<_> = self.buffers.iter_mut().map(|b| [IoSliceMut::new(b)]).collect();
        let fd = self.sockets[socket].as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received: Vec<(Option<SocketAddr>, usize)> =
            match recvmmsg(fd, &mut self.headers, &mut slices, flags, None) {
                Ok(results) => results.map(|m| (m.address.and_then(to_std), m.bytes)).collect(),
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
        for (buffer, (address, len)) in self.buffers.iter().zip(&received) {
            if let Some(address) = *address {
                handle(Client { socket, address }, &buffer[..*len]);
            }
        }
        Ok(received.len() == BATCH)
    }

    /// Sends everything in the outbox and empties it. What no socket takes is dropped, as a network would.
    pub fn send(&mut self, outbox: &mut Outbox<Client>) {
        for socket in 0..self.sockets.len() {
            let datagrams: Vec<(Client, &[u8])> =
                outbox.iter().filter(|(client, _)| client.socket == socket).collect();
            for batch in datagrams.chunks(BATCH) {
                self.send_batch(socket, batch);
            }
        }
        outbox.clear();
    }

    fn send_batch(&mut self, socket: usize, mut batch: &[(Client, &[u8])]) {
        while !batch.is_empty() {
            let slices: Vec<_> = batch.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
            let addresses: Vec<_> = batch
                .iter()
                .map(|(client, _)| Some(SockaddrStorage::from(client.address)))
                .collect();
            let fd = self.sockets[socket].as_raw_fd();
            let mut headers = MultiHeaders::preallocate(batch.len(), None);
            let result = sendmmsg(fd, &mut headers, &slices, &addresses, [], MsgFlags::empty())
                .map(Iterator::count);
            let done = match result {
                Ok(count) => {
                    self.count(&batch[..count]);
                    count
                }
                Err(Errno::EAGAIN) if self.wait_writable(socket) => 0,
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    tracing::debug!(%error, to = %batch[0].0.address, "a datagram could not be sent");
                    1
                }
            };
            batch = &batch[done..];
        }
    }

    fn count(&mut self, sent: &[(Client, &[u8])]) {
        self.sent.0 += sent.len() as u64;
        self.sent.1 += sent.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
    }

    fn wait_writable(&self, socket: usize) -> bool {
        let mut fds = [PollFd::new(self.sockets[socket].as_fd(), PollFlags::POLLOUT)];
        matches!(poll(&mut fds, PollTimeout::from(SEND_PATIENCE_MS)), Ok(1..))
    }
}

fn to_std(address: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|sin| SocketAddr::V4(SocketAddrV4::from(*sin)));
    v4.or_else(|| address.as_sockaddr_in6().map(|sin| SocketAddr::V6(SocketAddrV6::from(*sin))))
}
