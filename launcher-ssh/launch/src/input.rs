//! The launcher's standard input, pumped to one rank's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd;

use pmi_bridge::poller::{Interest, Poller};

/// Bytes taken at once; nothing more is taken until the rank has them.
const READ_SIZE: usize = 64 * 1024;

/// A launcher in the background asks so often whether it has the terminal back. (A shell says so by SIGCONT
/// only to a job that it had stopped.)
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What the pump waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// More input.
    Source,
    /// The rank, to read what it was given.
    Target,
    /// The terminal: we are in the background, and reading would fail.
    Terminal(Instant),
    /// Nothing any more.
    Over,
}

/// The pump.
pub struct Input<'a> {
    source: BorrowedFd<'a>,
    target: Option<OwnedFd>,
    buffer: Vec<u8>,
    start: usize,
    state: State,
    tokens: (u64, u64),
}

impl<'a> Input<'a> {
    /// A pump from `source` to nobody yet. `tokens` are the numbers of source and target at the poller.
    pub fn new(source: BorrowedFd<'a>, tokens: (u64, u64)) -> Self {
        Input { source, target: None, buffer: Vec::new(), start: 0, state: State::Over, tokens }
    }

    /// Begins to pump into `target`, the non-blocking end of a pipe.
    pub fn begin(&mut self, poller: &mut Poller, target: OwnedFd) -> io::Result<()> {
        self.target = Some(target);
        self.enter(poller, State::Source)
    }

    /// Ends: the rank reads the end of its input.
    pub fn end(&mut self, poller: &mut Poller) -> io::Result<()> {
        self.enter(poller, State::Over)?;
        self.target = None;
        Ok(())
    }

    /// Changes the state, and what is watched with it.
    fn enter(&mut self, poller: &mut Poller, state: State) -> io::Result<()> {
        if self.state == state {
            return Ok(());
        }
        match (self.state, &self.target) {
            (State::Source, _) => poller.remove(self.source, self.tokens.0),
            (State::Target, Some(target)) => poller.remove(target, self.tokens.1),
            _ => {}
        }
        self.state = state;
        match (state, &self.target) {
            (State::Source, _) => poller.add(self.source, self.tokens.0, Interest::Read),
            (State::Target, Some(target)) => poller.add(target, self.tokens.1, Interest::Write),
            _ => Ok(()),
        }
    }

    /// The source can be read.
    pub fn on_source(&mut self, poller: &mut Poller, now: Instant) -> io::Result<()> {
        if self.state != State::Source {
            return Ok(());
        }
        if in_background(self.source) {
            return self.enter(poller, State::Terminal(now + ASK_AGAIN));
        }
        self.buffer.resize(READ_SIZE, 0);
        self.start = 0;
        let read = unistd::read(self.source, &mut self.buffer);
        self.buffer.truncate(read.unwrap_or(0));
        match read {
            Ok(1..) => self.on_target(poller),
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(()),
            Err(Errno::EIO) if in_background(self.source) => {
                self.enter(poller, State::Terminal(now + ASK_AGAIN))
            }
            _ => self.end(poller),
        }
    }

    /// The rank may have room for more.
    pub fn on_target(&mut self, poller: &mut Poller) -> io::Result<()> {
        let Some(target) = &self.target else { return Ok(()) };
        while self.start < self.buffer.len() {
            match unistd::write(target, &self.buffer[self.start..]) {
                Ok(count) => self.start += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return self.enter(poller, State::Target),
                // The rank has closed its input, or has ended: nobody wants the rest.
                Err(_) => return self.end(poller),
            }
        }
        self.enter(poller, State::Source)
    }

    /// When to ask for the terminal again.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Terminal(due) => Some(due),
            _ => None,
        }
    }

    /// Goes on reading if we wait for the terminal, and have it back.
    pub fn ask_again(&mut self, poller: &mut Poller, now: Instant) -> io::Result<()> {
        match self.state {
            State::Terminal(_) if in_background(self.source) => {
                self.state = State::Terminal(now + ASK_AGAIN);
                Ok(())
            }
            State::Terminal(_) => self.enter(poller, State::Source),
            _ => Ok(()),
        }
    }
}

/// Is `fd` our terminal, and does another process group have it?
fn in_background(fd: BorrowedFd) -> bool {
    unistd::tcgetpgrp(fd.as_fd()).is_ok_and(|foreground| foreground != unistd::getpgrp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use std::io::{Read, Write};

    fn pump_until_over(input: &mut Input, poller: &mut Poller, mut reader: impl FnMut()) {
        let mut ready = Vec::new();
        while input.state != State::Over {
            poller.wait(Some(Instant::now()), &mut ready).unwrap();
            for token in &ready {
                match token {
                    1 => input.on_source(poller, Instant::now()).unwrap(),
                    _ => input.on_target(poller).unwrap(),
                }
            }
            if ready.is_empty() {
                reader();
            }
        }
    }

    #[test]
    fn everything_arrives_though_the_rank_is_slow() {
        let (source, user) = io::pipe().unwrap();
        let (rank, target) = unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        let mut poller = Poller::new().unwrap();
        let mut input = Input::new(source.as_fd(), (1, 2));
        input.begin(&mut poller, target).unwrap();
        let text: Vec<u8> = (0..500_000_u32).map(|n| n as u8).collect();
        let (mut got, mut sent, mut piece) = (Vec::new(), 0, [0; 4096]);
        let (mut user, mut rank) = (Some(user), std::fs::File::from(rank));
        pump_until_over(&mut input, &mut poller, || match (rank.read(&mut piece), &mut user) {
            (Ok(count), _) => got.extend_from_slice(&piece[..count]),
            (_, Some(writer)) if sent < text.len() => {
                writer.write_all(&text[sent..sent + 4000]).unwrap();
                sent += 4000;
            }
            _ => user = None,
        });
        rank.read_to_end(&mut got).unwrap();
        assert!(got == text);
    }

    #[test]
    fn a_rank_that_closes_its_input_ends_the_pump() {
        let (source, mut user) = io::pipe().unwrap();
        let (rank, target) = unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        drop(rank);
        let mut poller = Poller::new().unwrap();
        let mut input = Input::new(source.as_fd(), (1, 2));
        input.begin(&mut poller, target).unwrap();
        user.write_all(b"x").unwrap();
        pump_until_over(&mut input, &mut poller, || panic!("nothing to wait for"));
        assert!(input.target.is_none());
    }
}
