//! The standard output (or error) of all ranks, merged line by line into the launcher's own.
//!
//! A line is written as one piece, whoever else is writing. Three things break a line up: its stream ends
//! without a newline, it grows beyond [`PIECE_MAX`], or it stands still for [`PROMPT_AFTER`] before a
//! terminal (a prompt). If another rank writes next, a newline is put between them.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd;

use pmi_bridge::poller::{Interest, Poller};

use crate::sink::{Flushed, Sink};

/// A line longer than this is written in pieces.
const PIECE_MAX: usize = 64 * 1024;

/// Bytes taken from a stream at once: all that a pipe holds by default.
const READ_SIZE: usize = 64 * 1024;

/// A terminal shows an unfinished line after so long.
const PROMPT_AFTER: Duration = Duration::from_millis(250);

/// One rank's stream.
struct Stream {
    source: Option<OwnedFd>,
    /// Bytes of a line that is not yet whole.
    partial: Vec<u8>,
    since: Instant,
}

/// Who wrote last, if it left its line unfinished.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    Nobody,
    Launcher,
    Rank(usize),
}

/// All ranks' streams of one kind, and where they go.
pub struct Output<'a> {
    sink: Sink<'a>,
    sources: Poller,
    streams: Vec<Stream>,
    open: usize,
    unfinished: Writer,
    labels: bool,
    terminal: bool,
    paused: bool,
    watching_sink: bool,
    prompt_due: Option<Instant>,
    scratch: Vec<u8>,
}

impl<'a> Output<'a> {
    /// Merges the streams of `size` ranks into `fd`, each line with its rank before it if `labels` says so.
    pub fn new(fd: BorrowedFd<'a>, size: usize, labels: bool) -> io::Result<Self> {
        let now = Instant::now();
        let sink = Sink::new(fd);
        let terminal = sink.is_terminal();
        let stream = || Stream { source: None, partial: Vec::new(), since: now };
        Ok(Output {
            sink,
            sources: Poller::new()?,
            streams: std::iter::repeat_with(stream).take(size).collect(),
            open: 0,
            unfinished: Writer::Nobody,
            labels,
            terminal,
            paused: true,
            watching_sink: false,
            prompt_due: None,
            scratch: vec![0; READ_SIZE],
        })
    }

    /// Adds the stream of one rank: the end of a pipe.
    pub fn attach(&mut self, rank: usize, source: OwnedFd) -> io::Result<()> {
        self.sources.add(&source, rank as u64, Interest::Read)?;
        self.streams[rank].source = Some(source);
        self.open += 1;
        Ok(())
    }

    /// Have all streams ended?
    pub fn is_closed(&self) -> bool {
        self.open == 0
    }

    /// Has everything been written?
    pub fn is_flushed(&self) -> bool {
        self.sink.waiting() == 0
    }

    /// Takes what the streams hold right now.
    pub fn read(&mut self, now: Instant) -> io::Result<()> {
        let mut ready = Vec::new();
        self.sources.wait(Some(now), &mut ready)?;
        for rank in &ready {
            if self.sink.is_full() {
                break;
            }
            self.read_one(*rank as usize, now);
        }
        Ok(())
    }

    fn read_one(&mut self, rank: usize, now: Instant) {
        let Some(source) = &self.streams[rank].source else { return };
        let mut scratch = std::mem::take(&mut self.scratch);
        match unistd::read(source, &mut scratch) {
            Ok(0) => self.close(rank),
            Ok(count) => self.accept(rank, &scratch[..count], now),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.close(rank),
        }
        self.scratch = scratch;
    }

    fn accept(&mut self, rank: usize, bytes: &[u8], now: Instant) {
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let (lines, rest) = bytes.split_at(whole);
        if !lines.is_empty() {
            let mut partial = std::mem::take(&mut self.streams[rank].partial);
            self.put(Writer::Rank(rank), &[&partial, lines]);
            partial.clear();
            self.streams[rank].partial = partial;
        }
        if !rest.is_empty() {
            self.keep(rank, rest, now);
        }
    }

    fn keep(&mut self, rank: usize, rest: &[u8], now: Instant) {
        let stream = &mut self.streams[rank];
        stream.partial.extend_from_slice(rest);
        stream.since = now;
        if stream.partial.len() >= PIECE_MAX {
            self.put_partial(rank);
        } else if self.terminal {
            self.prompt_due.get_or_insert(now + PROMPT_AFTER);
        }
    }

    fn put_partial(&mut self, rank: usize) {
        let partial = std::mem::take(&mut self.streams[rank].partial);
        if !partial.is_empty() {
            self.put(Writer::Rank(rank), &[&partial]);
        }
    }

    fn close(&mut self, rank: usize) {
        self.put_partial(rank);
        if let Some(source) = self.streams[rank].source.take() {
            self.sources.remove(&source, rank as u64);
            self.open -= 1;
        }
    }

    fn close_all(&mut self) {
        (0..self.streams.len()).for_each(|rank| self.close(rank));
    }

    /// Gives up on the streams that are still open, unless they are because our own reader is slow (false).
    pub fn give_up(&mut self) -> bool {
        if !self.paused {
            self.close_all();
        }
        !self.paused
    }

    /// Adds a line of the launcher's own.
    pub fn say(&mut self, line: &str) {
        self.put(Writer::Launcher, &[line.as_bytes(), b"\n"]);
    }

    /// Adds pieces that follow one another: whole lines, of which the last may be unfinished.
    fn put(&mut self, writer: Writer, pieces: &[&[u8]]) {
        let mut fresh = self.unfinished != writer;
        if fresh && self.unfinished != Writer::Nobody {
            self.sink.buffer().push(b'\n');
        }
        let label = match writer {
            Writer::Rank(rank) if self.labels => format!("[{rank}] "),
            _ => String::new(),
        };
        for piece in pieces {
            fresh = append(self.sink.buffer(), piece, label.as_bytes(), fresh);
        }
        self.unfinished = if fresh { Writer::Nobody } else { writer };
    }

    /// Writes what it can, and keeps `poller` watching what matters: the streams under `streams`, unless too
    /// much is waiting; the descriptor under `sink`, if it is what we wait for.
    pub fn flush(&mut self, poller: &mut Poller, streams: u64, sink: u64) -> io::Result<Flushed> {
        let flushed = self.sink.flush();
        self.watch_sink(poller, sink, flushed == Flushed::Blocked)?;
        let pause = if self.paused { !self.sink.has_room() } else { self.sink.is_full() };
        if pause != self.paused {
            self.paused = pause;
            match pause {
                true => poller.remove(&self.sources, streams),
                false => poller.add(&self.sources, streams, Interest::Read)?,
            }
        }
        Ok(flushed)
    }

    fn watch_sink(&mut self, poller: &mut Poller, token: u64, wanted: bool) -> io::Result<()> {
        if wanted != self.watching_sink {
            self.watching_sink = wanted;
            match wanted {
                true => poller.add(self.sink.watched(), token, Interest::Write)?,
                false => poller.remove(self.sink.watched(), token),
            }
        }
        Ok(())
    }

    /// When unfinished lines are due to be shown.
    pub fn deadline(&self) -> Option<Instant> {
        self.prompt_due
    }

    /// Shows the unfinished lines that have stood still for long enough.
    pub fn show_prompts(&mut self, now: Instant) {
        if self.prompt_due.is_none_or(|due| now < due) {
            return;
        }
        for rank in 0..self.streams.len() {
            if now >= self.streams[rank].since + PROMPT_AFTER {
                self.put_partial(rank);
            }
        }
        let waiting = self.streams.iter().filter(|stream| !stream.partial.is_empty());
        self.prompt_due = waiting.map(|stream| stream.since + PROMPT_AFTER).min();
    }
}

/// Appends `bytes` with `label` before each line that begins; `fresh` says whether the first one does. Returns
/// whether the next byte begins a line.
fn append(buffer: &mut Vec<u8>, bytes: &[u8], label: &[u8], mut fresh: bool) -> bool {
    if label.is_empty() {
        buffer.extend_from_slice(bytes);
        return bytes.last().map_or(fresh, |&last| last == b'\n');
    }
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if fresh {
            buffer.extend_from_slice(label);
        }
        buffer.extend_from_slice(line);
        fresh = line.ends_with(b"\n");
    }
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::fs::File;
    use std::io::Seek;
    use std::os::fd::AsFd;

    /// Feeds pieces of output, ends the streams, and returns what was written.
    fn merged(labels: bool, pieces: &[(usize, &str)]) -> String {
        let mut file = File::from(memfd_create(c"merged", MFdFlags::empty()).unwrap());
        let mut output = Output::new(file.as_fd(), 3, labels).unwrap();
        let now = Instant::now();
        pieces.iter().for_each(|(rank, text)| output.accept(*rank, text.as_bytes(), now));
        output.close_all();
        let mut poller = Poller::new().unwrap();
        assert_eq!(output.flush(&mut poller, 0, 1).unwrap(), Flushed::Empty);
        drop(output);
        file.rewind().unwrap();
        io::read_to_string(&mut file).unwrap()
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        for (pieces, plain, labelled) in [
            (vec![(0, "a"), (1, "x\n"), (0, "b\n")], "x\nab\n", "[1] x\n[0] ab\n"),
            (vec![(0, "a\nb"), (0, "c\n")], "a\nbc\n", "[0] a\n[0] bc\n"),
            (vec![(0, "only")], "only", "[0] only"),
            (vec![(0, "a"), (1, "b"), (2, "\n")], "\na\nb", "[2] \n[0] a\n[1] b"),
            (vec![], "", ""),
        ] {
            assert_eq!(merged(false, &pieces), plain, "{pieces:?}");
            assert_eq!(merged(true, &pieces), labelled, "{pieces:?}");
        }
    }

    #[test]
    fn a_very_long_line_is_written_in_pieces() {
        let long = "y".repeat(PIECE_MAX / 2);
        let pieces = [(0, &*long), (0, &*long), (0, "z"), (1, "other\n"), (0, "end\n")];
        assert_eq!(merged(true, &pieces), format!("[0] {long}{long}\n[1] other\n[0] zend\n"));
        let pieces = [(0, &*long), (0, &*long), (0, "z\n")];
        assert_eq!(merged(true, &pieces), format!("[0] {long}{long}z\n"));
    }

    #[test]
    fn prompts_are_shown_after_a_while() {
        let (_reader, writer) = io::pipe().unwrap();
        let mut output = Output::new(writer.as_fd(), 2, false).unwrap();
        output.terminal = true;
        let start = Instant::now();
        output.accept(0, b"name? ", start);
        output.accept(1, b"age? ", start + PROMPT_AFTER / 2);
        assert_eq!(output.deadline(), Some(start + PROMPT_AFTER));
        output.show_prompts(start + PROMPT_AFTER);
        assert_eq!(output.sink.buffer(), b"name? ");
        assert_eq!(output.deadline(), Some(start + PROMPT_AFTER * 3 / 2));
        output.show_prompts(start + PROMPT_AFTER * 2);
        assert_eq!(output.sink.buffer(), b"name? \nage? ");
        assert_eq!(output.deadline(), None);
    }
}
