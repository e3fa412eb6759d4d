//! What cannot be sent.

use std::fmt;

use crate::Dialect;

/// Why a call cannot be sent: the protocol, or the servers that speak it, would lose or cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// A byte that would end the field before its end.
    Byte {
        /// Which field.
        field: &'static str,
        /// The byte.
        byte: u8,
        /// Where it stands.
        position: usize,
    },
    /// The field is empty, which Hydra 5 takes for a broken message, and which ends the job.
    Empty {
        /// Which field.
        field: &'static str,
    },
    /// The field is longer than the server announced.
    TooLong {
        /// Which field.
        field: &'static str,
        /// Bytes it has.
        length: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// The whole message is longer than the server reads.
    MessageTooLong {
        /// Bytes it has.
        length: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// The dialect has no such call.
    NotIn(Dialect),
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte { field, byte, position } => write!(
                f,
                "the {field} has '{}' at position {position}, where this PMI server would cut it",
                byte.escape_ascii()
            ),
            Self::Empty { field } => {
                write!(f, "the {field} is empty, which this PMI server cannot carry")
            }
            Self::TooLong { field, length, limit } => {
                write!(f, "the {field} has {length} bytes; this PMI server carries {limit}")
            }
            Self::MessageTooLong { length, limit } => {
                write!(f, "the message has {length} bytes; this PMI server reads {limit}")
            }
            Self::NotIn(Dialect::V1) => write!(f, "PMI-1 has no such call"),
            Self::NotIn(Dialect::V2) => write!(f, "PMI-2 has no such call"),
        }
    }
}

impl std::error::Error for Unsendable {}
