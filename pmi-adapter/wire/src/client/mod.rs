//! The client's side: calls in, bytes to the server out; bytes of the server in, answers out.

mod answer;
mod call;
mod unsendable;

pub use answer::{Answer, Maxima};
pub use call::Call;
pub use unsendable::Unsendable;

use crate::limits::{LINE_MAX, MESSAGE_MAX};
use crate::{Dialect, Violation};

/// A client's end of a connection.
#[derive(Debug)]
pub struct Client {
    dialect: Dialect,
    message_max: usize,
    bytes: Vec<u8>,
}

impl Client {
    /// For a new connection to a server.
    pub fn new(dialect: Dialect) -> Self {
        let message_max = match dialect {
            Dialect::V1 => LINE_MAX,
            Dialect::V2 => MESSAGE_MAX,
        };
        Self { dialect, message_max, bytes: Vec::new() }
    }

    /// Refuses messages of more than `bytes` from now on; see [`SLURM_LINE_MAX`](crate::limits::SLURM_LINE_MAX).
    pub fn limit_messages(&mut self, bytes: usize) {
        self.message_max = self.message_max.min(bytes);
    }

    /// The dialect it was made for.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Appends what is to be sent for `call`.
    ///
    /// # Errors
    /// If the call cannot be sent whole; nothing is appended then.
    pub fn write(&mut self, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        let _ = (call, out);
        Ok(())
    }

    /// Where to read the server's next bytes into; never empty.
    pub fn room(&mut self) -> &mut [u8] {
        self.bytes.resize(4096, 0);
        &mut self.bytes
    }

    /// Says that the first `n` bytes of [`Self::room`] are filled.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.bytes.len());
    }

    /// The next answer that has come in whole.
    ///
    /// # Errors
    /// If the server breaks the protocol, or answers something else; the same error comes again from then on.
    #[allow(clippy::should_implement_trait, reason = "it borrows from the client")]
    pub fn next(&mut self) -> Result<Option<Answer<'_>>, Violation> {
        Ok(None)
    }
}
