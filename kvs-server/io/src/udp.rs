//! Batched receiving and sending over the server's sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, sendmsg,
};
use pmi_protocol::datagram::Outbox;
use pmi_protocol::exchange::Peer;
use pmi_protocol::limits::DATAGRAM_MAX;

/// Datagrams per system call: enough to drain a burst, few enough that the buffers stay at a megabyte.
const BATCH: usize = 32;

/// How long to wait for room in a socket's send buffer before datagrams are dropped, in milliseconds. Nodes
/// ask again for what they miss.
const SEND_PATIENCE_MS: u16 = 20;

/// Most datagrams that the kernel makes of one message (`UDP_MAX_SEGMENTS`, 64 before Linux 6.9).
const SEGMENTS_MAX: usize = 64;

/// Most bytes of one message that becomes several datagrams: what one UDP datagram over IPv4 could carry.
const SEGMENTED_MAX: usize = 65_507;

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
    /// Does the kernel cut a message into datagrams (`UDP_SEGMENT`, udp(7), Linux 4.18)?
    segments: bool,
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
            segments: true,
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
            let datagrams: Vec<Datagram> =
                outbox.iter().filter(|(client, _)| client.socket == socket).collect();
            let mut rest = datagrams.as_slice();
            while !rest.is_empty() {
                rest = &rest[self.send_some(socket, rest)..];
            }
        }
        outbox.clear();
    }

    /// Sends the first few; returns how many. What goes to one node goes through the kernel in one piece, as far as it
    /// can: that takes a fraction of the time of so many datagrams.
    fn send_some(&mut self, socket: usize, datagrams: &[Datagram]) -> usize {
        let run = run_length(datagrams);
        if run > 1 && self.segments && self.send_run(socket, &datagrams[..run]) {
            return run;
        }
        let singles = (0..datagrams.len().min(BATCH))
            .position(|at| at > 0 && self.segments && run_length(&datagrams[at..]) > 1);
        let batch = &datagrams[..singles.unwrap_or(datagrams.len().min(BATCH))];
        self.send_batch(socket, batch);
        batch.len()
    }

    /// Sends datagrams of one length, of which the last may be shorter, to one client. False if the kernel or the way
    /// there cannot cut them from one message.
    fn send_run(&mut self, socket: usize, run: &[Datagram]) -> bool {
        let slices: Vec<_> = run.iter().map(|(_, bytes)| IoSlice::new(bytes)).collect();
        let (fd, to) = (self.sockets[socket].as_raw_fd(), SockaddrStorage::from(run[0].0.address));
        let size = run[0].1.len() as u16;
        let segments = [ControlMessage::UdpGsoSegments(&size)];
        loop {
            match sendmsg(fd, &slices, &segments, MsgFlags::empty(), Some(&to)) {
                Ok(_) => {
                    self.count(run);
                    return true;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if self.wait_writable(socket) => {}
                Err(error @ (Errno::EINVAL | Errno::EIO | Errno::EOPNOTSUPP | Errno::EMSGSIZE)) => {
                    tracing::debug!(%error, "datagrams are sent one by one from here on");
                    self.segments = false;
                    return false;
                }
                Err(error) => {
                    tracing::debug!(%error, to = %run[0].0.address, "datagrams could not be sent");
                    return true;
                }
            }
        }
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

/// A client and what it shall get.
type Datagram<'a> = (Client, &'a [u8]);

/// How many of the first datagrams can be cut from one message: to one client, of one length, and perhaps a shorter one.
fn run_length(datagrams: &[Datagram]) -> usize {
    let (client, first) = datagrams[0];
    let mut total = 0;
    for (at, (to, bytes)) in datagrams.iter().take(SEGMENTS_MAX).enumerate() {
        total += bytes.len();
        if *to != client || bytes.len() > first.len() || total > SEGMENTED_MAX {
            return at.max(1);
        }
        if bytes.len() < first.len() {
            return at + 1;
        }
    }
    datagrams.len().min(SEGMENTS_MAX)
}

fn to_std(address: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|sin| SocketAddr::V4(SocketAddrV4::from(*sin)));
    v4.or_else(|| address.as_sockaddr_in6().map(|sin| SocketAddr::V6(SocketAddrV6::from(*sin))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> Client {
        Client { socket: 0, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    #[test]
    fn a_run_is_of_one_client_and_one_length_and_a_shorter_end() {
        let (long, short) = ([0; 1200], [0; 90]);
        let of = |sizes: &[(u16, usize)]| {
            let datagrams: Vec<_> = sizes
                .iter()
                .map(|(port, size)| (client(*port), if *size == 90 { &short[..] } else { &long }))
                .collect();
            run_length(&datagrams)
        };
        assert_eq!(of(&[(1, 1200)]), 1);
        assert_eq!(of(&[(1, 1200), (1, 1200), (1, 90), (1, 90)]), 3);
        assert_eq!(of(&[(1, 1200), (2, 1200)]), 1);
        assert_eq!(of(&[(1, 90), (1, 1200)]), 1);
        assert_eq!(of(&[(1, 1200); 70]), 54, "what one datagram could carry");
    }

    #[test]
    fn each_datagram_of_a_run_arrives_by_itself() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let to = client(peer.local_addr().unwrap().port());
        let mut udp = Udp::new(vec![server]);
        let texts = [vec![1; 1200], vec![2; 1200], vec![3; 40], vec![4; 40], vec![5; 1200]];
        let datagrams: Vec<Datagram> = texts.iter().map(|text| (to, text.as_slice())).collect();
        let mut rest = datagrams.as_slice();
        while !rest.is_empty() {
            rest = &rest[udp.send_some(0, rest)..];
        }
        let mut buffer = [0; 2000];
        for text in &texts {
            let length = peer.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], text);
        }
        assert_eq!(udp.sent, (5, texts.iter().map(|text| text.len() as u64).sum()));
    }
}
