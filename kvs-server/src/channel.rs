//! The control channel's socket: lines in, lines out.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::control::{Command, Event};

/// Longest line that a launcher may send, in bytes: thousands of first pairs.
const LINE_MAX: usize = 16 * 1024 * 1024;

/// Where events go to and commands come from.
#[derive(Debug)]
pub enum Channel {
    /// A launcher's socket.
    Launcher {
        /// The socket.
        socket: UnixStream,
        /// What has come in of the next line.
        partial: Vec<u8>,
    },
    /// Nobody commands; events go to standard output.
    StandardOutput,
}

impl Channel {
    /// A channel over an inherited socket.
    pub fn launcher(fd: OwnedFd) -> Self {
        Channel::Launcher { socket: UnixStream::from(fd), partial: Vec::new() }
    }

    /// The descriptor to wait on.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Channel::Launcher { socket, .. } => Some(socket.as_fd()),
            Channel::StandardOutput => None,
        }
    }

    /// Writes one event.
    pub fn send(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        match self {
            Channel::Launcher { socket, .. } => socket.write_all(&line),
            Channel::StandardOutput => io::stdout().lock().write_all(&line),
        }
    }

    /// Reads what has come in; `None` when the launcher is gone. A line that is no command is an `Err` item.
    pub fn receive(&mut self) -> io::Result<Option<Vec<Result<Command, String>>>> {
        let Channel::Launcher { socket, partial } = self else { return Ok(Some(Vec::new())) };
        let mut buffer = [0; 16 * 1024];
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(len) => partial.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if partial.len() > LINE_MAX {
            return Err(io::Error::other("a line on the control channel is too long"));
        }
        Ok(Some(take_lines(partial)))
    }
}

fn take_lines(partial: &mut Vec<u8>) -> Vec<Result<Command, String>> {
    let Some(end) = partial.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let rest = partial.split_off(end + 1);
    let lines = std::mem::replace(partial, rest);
    lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect()
}

fn parse(line: &[u8]) -> Result<Command, String> {
    serde_json::from_slice(line)
        .map_err(|error| format!("'{}' is not a command: {error}", String::from_utf8_lossy(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_they_end() {
        let mut partial = b"{\"command\":\"statistics\"}\nnonsense\n{\"comm".to_vec();
        let lines = take_lines(&mut partial);
        assert_eq!(lines[0], Ok(Command::Statistics));
        assert!(lines[1].as_ref().unwrap_err().contains("nonsense"));
        assert_eq!(partial, b"{\"comm");
        assert!(take_lines(&mut partial).is_empty());
    }
}
