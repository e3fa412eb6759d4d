//! The server's binary over real sockets: strangers are not answered, IPv6 works, the control channel obeys.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pmi_kvs_server::control::{Command as Order, Event, Statistics};
use pmi_protocol::datagram::{Header, Kind, WATCHED, decode, encode, encode_hello};
use pmi_protocol::key::{Direction, Keys, Secret, group_number};
use pmi_protocol::limits::UNCLAIMED_MAX;
use pmi_protocol::ranks::RankRange;

const SECRET: [u8; 32] = [7; 32];
/// Nothing here takes long; what hangs ends here.
const LIMIT: Duration = Duration::from_secs(60);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pmi-kvs-server"));
    let secret = Secret::new(SECRET).to_hex();
    command.args(["--job", "job", "--size", "2"]).args(arguments).env("PMI_KVS_SECRET", secret);
    command
}

/// A server that is killed when a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn event(lines: &mut impl BufRead) -> Event {
    let mut line = String::new();
    lines.read_line(&mut line).expect("the server writes lines");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("'{line}': {error}"))
}

fn address(event: Event) -> SocketAddr {
    let Event::Ready { addresses, incarnation: 1 } = event else { panic!("{event:?}") };
    addresses[0].parse().expect("an address")
}

/// A Hello of rank 0, sealed with this secret.
fn hello(secret: [u8; 32]) -> Vec<u8> {
    hello_with_line(secret, 0)
}

/// The same, with the port of its lifeline.
fn hello_with_line(secret: [u8; 32], port: u16) -> Vec<u8> {
    let header = Header {
        kind: Kind::Hello,
        flags: 0,
        group: group_number("job"),
        node: 5,
        offset: 0,
        mark: 0,
        epoch: 0,
        incarnation: port.into(),
    };
    let mut datagram = Vec::new();
    let ranges = [RankRange { first: 0, last: 0 }];
    encode(
        &Keys::derive(&Secret::new(secret)),
        &header,
        &ranges,
        &encode_hello(2, "here"),
        &mut datagram,
    );
    datagram
}

fn client(server: SocketAddr) -> UdpSocket {
    let local = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.connect(server).unwrap();
    socket
}

/// The first answer must be the release of epoch 0: whatever was sent before the Hello was not answered.
fn join(socket: &UdpSocket) {
    socket.send(&hello(SECRET)).unwrap();
    let mut buffer = [0; 2000];
    let len = socket.recv(&mut buffer).expect("the server answers a Hello");
    let keys = Keys::derive(&Secret::new(SECRET));
    let answer = decode(&keys, Direction::Down, &buffer[..len]).expect("an answer of our server");
    assert_eq!((answer.header.kind, answer.header.node), (Kind::Release, 5));
}

fn end(mut server: Running, lines: &mut impl BufRead) -> Statistics {
    kill(Pid::from_raw(server.0.id() as i32), Signal::SIGTERM).unwrap();
    let Event::Statistics(statistics) = event(lines) else { panic!("statistics come last") };
    assert!(server.0.wait().unwrap().success());
    statistics
}

#[test]
fn strangers_are_dropped_in_silence_and_counted() {
    let mut server =
        Running(command(&["--bind", "127.0.0.1"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap());
    let socket = client(address(event(&mut lines)));
    let good = hello(SECRET);
    let mut mutated = good.clone();
    *mutated.last_mut().unwrap() ^= 1;
    let hostile = [&b"x"[..], b"", &[0; 1500], &good[..good.len() - 1], &mutated, &hello([8; 32])];
    hostile.iter().for_each(|datagram| {
        socket.send(datagram).unwrap();
    });
    join(&socket);
    let statistics = end(server, &mut lines);
    assert_eq!((statistics.dropped, statistics.datagrams_in), (hostile.len() as u64, 1));
}

/// The server closes this connection, sooner or later.
fn assert_closed(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let closed = match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(closed, "the server keeps a connection of a stranger");
}

/// Says Hello until the server says that it has the lifeline.
fn claim(socket: &UdpSocket, line: &TcpStream) {
    let (keys, hello) = (Keys::derive(&Secret::new(SECRET)), hello_with_line(SECRET, port(line)));
    let end = std::time::Instant::now() + LIMIT;
    while std::time::Instant::now() < end {
        socket.send(&hello).unwrap();
        let mut buffer = [0; 2000];
        let len = socket.recv(&mut buffer).expect("the server answers a Hello");
        let answer = decode(&keys, Direction::Down, &buffer[..len]).unwrap();
        if answer.header.flags == WATCHED {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the server does not find the lifeline");
}

fn port(line: &TcpStream) -> u16 {
    line.local_addr().unwrap().port()
}

#[test]
fn a_lifeline_stays_and_connections_of_strangers_do_not() {
    let mut server =
        Running(command(&["--bind", "0.0.0.0"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, address(event(&mut lines)).port()));
    let connect =
        |_| TcpStream::connect(address).expect("the server listens on the port of its socket");
    let strangers: Vec<TcpStream> = (0..UNCLAIMED_MAX + 10).map(connect).collect();
    let socket = client(address);
    socket.send(&hello_with_line([8; 32], port(&strangers[0]))).unwrap();
    strangers.iter().for_each(assert_closed);
    let (mut mine, mut chatty) = (connect(0), connect(0));
    claim(&socket, &mine);
    for line in [&mut chatty, &mut mine] {
        assert!(is_open(line));
        line.write_all(b"x").unwrap();
        assert_closed(line);
    }
    assert_eq!(end(server, &mut lines).dropped, 1);
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let open = stream.peek(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    open
}

#[test]
fn ipv6_is_served() {
    let mut server = Running(command(&["--bind", "::1"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap());
    join(&client(address(event(&mut lines))));
    assert_eq!(end(server, &mut lines).nodes, 1);
}

#[test]
fn the_control_channel_obeys_refuses_and_is_the_lifeline() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let number = theirs.as_raw_fd().to_string();
    let mut server =
        Running(command(&["--bind", "127.0.0.1", "--control-fd", &number]).spawn().unwrap());
    drop(theirs);
    ours.set_read_timeout(Some(LIMIT)).unwrap();
    let mut lines = BufReader::new(ours.try_clone().unwrap());
    let say = |order: &str| writeln!(&ours, "{order}").unwrap();
    assert!(matches!(event(&mut lines), Event::Ready { .. }));

    let add = Order::AddGroup { group: "second".into(), size: 3, puts: vec![] };
    let add = serde_json::to_string(&add).unwrap();
    say(&add);
    say(r#"{"command":"statistics"}"#);
    let Event::Statistics(statistics) = event(&mut lines) else {
        panic!("the group was not added")
    };
    assert!(statistics.log_bytes > 0);
    for (order, word) in [
        ("nonsense", "nonsense"),
        (r#"{"command":"exited","group":"third","rank":0}"#, "no such group"),
        (r#"{"command":"add-group","group":"a b","size":3}"#, "job name"),
        (r#"{"command":"add-group","group":"b","size":0}"#, "size 0"),
    ] {
        say(order);
        let Event::Error { message } = event(&mut lines) else { panic!("{order} was obeyed") };
        assert!(message.contains(word), "{message}");
    }
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(event(&mut lines), Event::Statistics(_)));
    assert!(server.0.wait().unwrap().success());
}
