//! The launcher's end of a server's control channel: JSON lines over a non-blocking socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use pmi_kvs_server::control::{Command, Event};

/// Longest line that a server may send. The longest it has reason to names some scattered ranks and hosts.
const LINE_MAX: usize = 1024 * 1024;

/// One end of a control channel.
pub struct Endpoint {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Endpoint {
    /// Takes a connected socket over.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Endpoint { stream, incoming: Vec::new(), outgoing: Vec::new() })
    }

    /// Sends a command, now or as soon as there is room. A server that is gone hears nothing; its end is
    /// noticed elsewhere.
    pub fn send(&mut self, command: &Command) {
        serde_json::to_writer(&mut self.outgoing, command).expect("commands are plain data");
        self.outgoing.push(b'\n');
        self.flush();
    }

    /// Sends what could not be sent before.
    pub fn flush(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.outgoing.clear(),
            }
        }
    }

    /// Is there something that could not be sent yet?
    pub fn has_backlog(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The events that have arrived, and whether more can come. A line that is no event ends the channel.
    pub fn receive(&mut self) -> (Vec<Event>, bool) {
        let open = self.fill();
        let mut events = Vec::new();
        while let Some(end) = self.incoming.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.incoming.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(event) => events.push(event),
                Err(_) => return (events, false),
            }
        }
        (events, open && self.incoming.len() <= LINE_MAX)
    }

    /// Takes what has arrived; false at the channel's end.
    fn fill(&mut self) -> bool {
        let mut piece = [0; 4096];
        while self.incoming.len() <= LINE_MAX {
            match self.stream.read(&mut piece) {
                Ok(0) => return false,
                Ok(count) => self.incoming.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Endpoint, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Endpoint::new(ours).unwrap(), theirs)
    }

    #[test]
    fn events_are_read_whole_however_they_arrive() {
        let (mut endpoint, mut server) = pair();
        let line = b"{\"event\":\"finalized\",\"group\":\"g\"}\n";
        server.write_all(&line[..10]).unwrap();
        assert_eq!(endpoint.receive(), (vec![], true));
        server.write_all(&line[10..]).unwrap();
        server.write_all(line).unwrap();
        let event = Event::Finalized { group: "g".into() };
        assert_eq!(endpoint.receive(), (vec![event.clone(), event], true));
        drop(server);
        assert_eq!(endpoint.receive(), (vec![], false));
    }

    #[test]
    fn a_line_that_is_no_event_ends_the_channel() {
        let (mut endpoint, mut server) = pair();
        server.write_all(b"hello\n").unwrap();
        assert_eq!(endpoint.receive(), (vec![], false));
    }

    #[test]
    fn commands_wait_for_a_slow_server_and_forget_a_dead_one() {
        let (mut endpoint, mut server) = pair();
        let command = Command::Exited { group: "g".repeat(1000), rank: 1 };
        while !endpoint.has_backlog() {
            endpoint.send(&command);
        }
        let mut line = vec![0; 1 << 20];
        let _ = server.read(&mut line).unwrap();
        endpoint.flush();
        drop(server);
        endpoint.send(&command);
        assert!(!endpoint.has_backlog());
    }
}
