//! The server's sockets, UDP and TCP on one port: binding them, and what to tell clients about them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::sockopt::{Ipv6V6Only, RcvBuf, ReuseAddr, SndBuf};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};

/// Socket buffers, in bytes: the arrivals of ten thousand nodes at once (the kernel may grant less).
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Ports that the kernel is asked to choose, until one is free for TCP as well.
const CHOICES_MAX: usize = 16;

/// Connections that wait to be accepted: a node whose connection is refused by a full queue tries again a second later.
const BACKLOG: i32 = 4095;

/// A server's sockets on one port.
#[derive(Debug)]
pub struct Pair {
    /// Where datagrams come in.
    pub udp: UdpSocket,
    /// Where lifelines come in. Without it a crashed node is not noticed, and all else works.
    pub listener: Option<TcpListener>,
}

impl Pair {
    /// The same sockets under other descriptors.
    pub fn try_clone(&self) -> io::Result<Pair> {
        let listener = self.listener.as_ref().map(TcpListener::try_clone).transpose()?;
        Ok(Pair { udp: self.udp.try_clone()?, listener })
    }
}

/// Ports to try. `0..=0` lets the kernel choose.
pub type PortRange = RangeInclusive<u16>;

/// Reads `LOW-HIGH` or one port.
pub fn parse_port_range(text: &str) -> Result<PortRange, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
        (Ok(low), Ok(high)) if 0 < low && low <= high => Ok(low..=high),
        _ => Err(format!(
            "'{text}' is not a port range; write LOW-HIGH with 1 <= LOW <= HIGH <= 65535"
        )),
    }
}

/// Binds a UDP socket to the first free port of the range. An unspecified IPv6 address takes IPv4 too.
pub fn bind_udp(address: IpAddr, ports: &PortRange) -> io::Result<UdpSocket> {
    for port in ports.clone() {
        match bind_one(SocketAddr::new(address, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!(
            "no free UDP port in {}-{} on {address}: widen the port range, or end what uses it",
            ports.start(),
            ports.end()
        ),
    ))
}

/// Binds a UDP socket and a TCP listener to the first port of the range that is free for both, or else the socket alone to
/// the first that is free for that. A loopback address gets no listener: who is on the same host needs no lifeline.
pub fn bind_pair(address: IpAddr, ports: &PortRange) -> io::Result<Pair> {
    let alone = || bind_udp(address, ports).map(|udp| Pair { udp, listener: None });
    if address.to_canonical().is_loopback() {
        return alone();
    }
    let choices = if *ports == (0..=0) { CHOICES_MAX } else { 1 };
    for port in ports.clone().flat_map(|port| std::iter::repeat_n(port, choices)) {
        let Ok(udp) = bind_one(SocketAddr::new(address, port)) else { continue };
        if let Ok(listener) = listen_at(udp.local_addr()?) {
            return Ok(Pair { udp, listener: Some(listener) });
        }
    }
    alone()
}

/// Listens on this address, even if connections to an earlier listener there still linger.
fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let fd = open(address, SockType::Stream)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    adopt_listener(fd)
}

/// Makes a listener of ours out of an inherited descriptor.
pub fn adopt_listener(fd: OwnedFd) -> io::Result<TcpListener> {
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn open(address: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if address.is_ipv6() {
        setsockopt(&fd, Ipv6V6Only, &!address.ip().is_unspecified())?;
    }
    Ok(fd)
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let fd = open(address, SockType::Datagram)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    adopt(fd)
}

/// Makes a socket of ours out of an inherited descriptor.
pub fn adopt(fd: OwnedFd) -> io::Result<UdpSocket> {
    // The kernel caps what it does not want to grant; smaller buffers only mean more retransmissions.
    let _ = setsockopt(&fd, RcvBuf, &SOCKET_BUFFER);
    let _ = setsockopt(&fd, SndBuf, &SOCKET_BUFFER);
    let socket = UdpSocket::from(fd);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Addresses under which clients reach the socket: its own, or those of all interfaces if it is bound to none.
pub fn reachable(socket: &UdpSocket) -> io::Result<Vec<SocketAddr>> {
    let bound = socket.local_addr()?;
    if !bound.ip().is_unspecified() {
        return Ok(vec![bound]);
    }
    let mut addresses = interface_addresses(bound.is_ipv6())?;
    if addresses.iter().any(|ip| !ip.is_loopback()) {
        addresses.retain(|ip| !ip.is_loopback());
    }
    Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, bound.port())).collect())
}

/// Addresses of all interfaces that are up, IPv4 first. IPv6 link-local ones need a scope and are left out.
fn interface_addresses(with_ipv6: bool) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for interface in getifaddrs()?.filter(|found| found.flags.contains(InterfaceFlags::IFF_UP)) {
        let Some(address) = interface.address else { continue };
        let v4 = address.as_sockaddr_in().map(|sin| IpAddr::V4(sin.ip()));
        let v6 = address.as_sockaddr_in6().map(|sin| IpAddr::V6(sin.ip()));
        let usable = |ip: &IpAddr| match ip {
            IpAddr::V4(_) => true,
            IpAddr::V6(ip) => with_ipv6 && !ip.is_unicast_link_local(),
        };
        addresses.extend(v4.or(v6).filter(usable));
    }
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    Ok(addresses)
}

/// Binds to all addresses of the host: for IPv6 and IPv4, or IPv4 alone where there is no IPv6.
pub fn bind_any(ports: &PortRange) -> io::Result<Pair> {
    match bind_pair(IpAddr::V6(Ipv6Addr::UNSPECIFIED), ports) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind_pair(IpAddr::V4(Ipv4Addr::UNSPECIFIED), ports)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn port_ranges_are_read_and_nonsense_refused() {
        assert_eq!(parse_port_range("4000-4010"), Ok(4000..=4010));
        assert_eq!(parse_port_range("4000"), Ok(4000..=4000));
        for text in ["", "0", "5-4", "a-b", "1-70000", "-"] {
            assert!(parse_port_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_exhausted_port_range_is_a_clear_error() {
        let taken = bind_udp(LOCAL, &(0..=0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind_udp(LOCAL, &(port..=port)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("widen the port range"), "{error}");
    }

    #[test]
    fn the_pair_has_one_port_and_does_without_tcp_where_that_is_taken() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let first = bind_pair(any, &(0..=0)).unwrap();
        let port = first.udp.local_addr().unwrap().port();
        let listener = first.listener.expect("some port is free for both");
        assert_eq!(listener.local_addr().unwrap().port(), port);
        drop(first.udp);
        let alone = bind_pair(any, &(port..=port)).unwrap();
        assert!(alone.listener.is_none() && alone.udp.local_addr().unwrap().port() == port);
        drop((alone, listener));
        assert!(bind_pair(any, &(port..=port)).unwrap().listener.is_some());
        assert!(bind_pair(LOCAL, &(0..=0)).unwrap().listener.is_none());
    }

    #[test]
    fn a_socket_bound_to_all_addresses_names_them() {
        let socket = bind_any(&(0..=0)).unwrap().udp;
        let port = socket.local_addr().unwrap().port();
        let addresses = reachable(&socket).unwrap();
        assert!(!addresses.is_empty());
        assert!(addresses.iter().all(|a| a.port() == port && !a.ip().is_unspecified()));
        assert_eq!(reachable(&bind_udp(LOCAL, &(0..=0)).unwrap()).unwrap()[0].ip(), LOCAL);
    }
}
