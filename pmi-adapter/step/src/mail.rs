//! The helper's UDP socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::message;

/// A UDP socket for both families.
pub struct Mail {
    /// To be watched.
    pub socket: UdpSocket,
    ipv6: bool,
}

impl Mail {
    /// Opens it on a port of the kernel's choice.
    pub fn open() -> io::Result<Mail> {
        let six = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0));
        let ipv6 = six.is_ok();
        let socket = six.or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
        socket.set_nonblocking(true)?;
        Ok(Mail { socket, ipv6 })
    }

    fn map(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        }
    }

    /// From here on only from and to there: then its host can say that nobody listens.
    pub fn connect(&self, server: SocketAddr) {
        // Where it fails, the server's silence has to do.
        let _ = self.socket.connect(self.map(server));
    }

    /// What cannot be sent is lost, as in a network; a refusal is heard when receiving next.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let sent = match self.socket.peer_addr() {
            Ok(_) => self.socket.send(bytes),
            Err(_) => self.socket.send_to(bytes, self.map(to)),
        };
        let _ = sent;
    }

    /// What has come, and from where, without waiting.
    pub fn receive(&self) -> io::Result<Option<(SocketAddr, Vec<u8>)>> {
        let mut buffer = [0; message::LEN_MAX + 1];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                Ok(Some((from, buffer[..length].to_vec())))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
