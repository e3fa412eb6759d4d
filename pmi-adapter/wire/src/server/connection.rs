//! One client's connection.

use std::ops::Range;

use crate::frame::{Frame, Frames};
use crate::{Dialect, Violation};

use super::parse::parse;
use super::request::Request;
use super::ticket::{Kind, Ticket};

/// What MPICH 4.0.2 announces and sends beyond the end of each PMI-2 message: it counts the header twice.
const SURPLUS: usize = crate::limits::HEADER;

/// What has come from one client and is not handled yet.
#[derive(Debug, Default)]
pub struct Connection {
    frames: Frames,
    /// Bytes at the end of each PMI-2 message of this client that are not part of it.
    surplus: usize,
    /// Why it is of no more use.
    fault: Option<Violation>,
}

impl Connection {
    /// For a new client.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to read the client's next bytes into; never empty. Call [`Self::next`] until it has no more requests
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

    /// Has a request come in partly?
    pub fn is_amid(&self) -> bool {
        self.frames.is_amid()
    }

    /// Bytes of memory that are in use for what comes in.
    pub fn capacity(&self) -> usize {
        self.frames.capacity()
    }

    /// The next request that has come in whole.
    ///
    /// # Errors
    /// If the client breaks the protocol; the same error comes again from then on.
    #[allow(clippy::should_implement_trait, reason = "a request borrows from the connection")]
    pub fn next(&mut self) -> Result<Option<(Ticket, Request<'_>)>, Violation> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let Some(frame) =
            self.frames.next().inspect_err(|fault| self.fault = Some(fault.clone()))?
        else {
            return Ok(None);
        };
        let body = self.frames.get(self.without_surplus(&frame));
        let parsed = parse(frame.dialect, body);
        match &parsed {
            Ok((Ticket { kind: Kind::FullInit, .. }, _)) => self.surplus = surplus_of(body),
            Ok(_) => {}
            Err(fault) => self.fault = Some(fault.clone()),
        }
        parsed.map(Some)
    }

    fn without_surplus(&self, frame: &Frame) -> Range<usize> {
        let surplus = if frame.dialect == Dialect::V2 { self.surplus } else { 0 };
        frame.body.start..frame.body.end.saturating_sub(surplus).max(frame.body.start)
    }
}

/// Whether a client sends the surplus, from its `fullinit`: there, what comes last is known. In later messages the
/// surplus could begin with a `;`, which would double the one before it.
fn surplus_of(body: &[u8]) -> usize {
    let ends = [&b";threaded=TRUE;"[..], b";threaded=FALSE;"];
    let message = body.len().saturating_sub(SURPLUS);
    if ends.iter().any(|end| body[..message].ends_with(end)) { SURPLUS } else { 0 }
}
