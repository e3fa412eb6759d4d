//! A client's end of a connection.

use crate::frame::{Frame, Frames};
use crate::limits::{LINE_MAX, MESSAGE_MAX};
use crate::{Dialect, Violation};

use super::answer::Answer;
use super::call::Call;
use super::receive::{Expected, Got, Waiting};
use super::send::Sender;
use super::unsendable::Unsendable;

/// A client's end of a connection.
#[derive(Debug)]
pub struct Client {
    sender: Sender,
    frames: Frames,
    waiting: Waiting,
    /// The message that [`Self::next`] will give.
    ready: Option<Frame>,
    /// Why it is of no more use.
    fault: Option<Violation>,
}

impl Client {
    /// For a new connection to a server.
    pub fn new(dialect: Dialect) -> Self {
        let message_max = match dialect {
            Dialect::V1 => LINE_MAX,
            Dialect::V2 => MESSAGE_MAX,
        };
        let sender = Sender { dialect, message_max, picky: false };
        Self {
            sender,
            frames: Frames::default(),
            waiting: Waiting::default(),
            ready: None,
            fault: None,
        }
    }

    /// Refuses messages of more than `bytes` from now on; see [`SLURM_LINE_MAX`](crate::limits::SLURM_LINE_MAX).
    pub fn limit_messages(&mut self, bytes: usize) {
        self.sender.message_max = self.sender.message_max.min(bytes);
    }

    /// The dialect it was made for.
    pub fn dialect(&self) -> Dialect {
        self.sender.dialect
    }

    /// Appends what is to be sent for `call`.
    ///
    /// # Errors
    /// If the call cannot be sent whole; nothing is appended then.
    pub fn write(&mut self, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        self.sender.write(call, out)?;
        match Expected::by(call) {
            Some(expected) => self.waiting.answer = Some(expected),
            None => self.waiting.barrier |= *call == Call::Barrier,
        }
        Ok(())
    }

    /// Where to read the server's next bytes into; never empty. Call [`Self::next`] until it has no more answers
    /// before asking for more room: only then does
    /// [`BUFFER_MAX`](crate::limits::BUFFER_MAX) hold.
    pub fn room(&mut self) -> &mut [u8] {
        if self.fault.is_some() {
            self.frames.clear();
        }
        self.frames.room()
    }

    /// Says that the first `n` bytes of [`Self::room`] are filled.
    ///
    /// # Panics
    /// If there was less room.
    pub fn advance(&mut self, n: usize) {
        self.frames.advance(n);
    }

    /// Bytes of memory that are in use for what comes in.
    pub fn capacity(&self) -> usize {
        self.frames.capacity()
    }

    /// Whether [`Self::next`] has something to say, an answer or an error. Lets a caller read until it has, and return
    /// the answer, which borrows from the client.
    pub fn is_ready(&mut self) -> bool {
        if self.fault.is_none() && self.ready.is_none() {
            match self.answering() {
                Ok(frame) => self.ready = frame,
                Err(fault) => self.fault = Some(fault),
            }
        }
        self.fault.is_some() || self.ready.is_some()
    }

    /// The next answer that has come in whole.
    ///
    /// # Errors
    /// If the server breaks the protocol, or answers something else; the same error comes again from then on.
    #[allow(clippy::should_implement_trait, reason = "an answer borrows from the client")]
    pub fn next(&mut self) -> Result<Option<Answer<'_>>, Violation> {
        self.is_ready();
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let Some(frame) = self.ready.take() else {
            return Ok(None);
        };
        let got = Got::new(frame.dialect, self.frames.get(frame.body));
        let answer = got.and_then(|got| got.answer(&mut self.waiting));
        self.fault = answer.as_ref().err().cloned();
        answer.map(Some)
    }

    /// The message that completes the next answer.
    fn answering(&mut self) -> Result<Option<Frame>, Violation> {
        while let Some(frame) = self.frames.next()? {
            let got = Got::new(frame.dialect, self.frames.get(frame.body.clone()))?;
            self.sender.picky |= self.waiting.answer == Some(Expected::Init) && got.rc_first();
            if !got.is_part(&mut self.waiting)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}
