//! What a peer can do that ends its connection.

use std::fmt;

use crate::limits::{ATTRIBUTES_MAX, LINE_MAX, MESSAGE_MAX, SPAWN_MAX, THREAD_ID_MAX};

/// A message that breaks the protocol. The connection it came from is of no more use: what follows cannot be told
/// from what came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A PMI-1 line that does not end within [`LINE_MAX`].
    LineTooLong,
    /// A PMI-1 spawn request that does not end within [`SPAWN_MAX`].
    SpawnTooLong,
    /// A PMI-2 message whose length header announces more than [`MESSAGE_MAX`].
    MessageTooLong(usize),
    /// A PMI-2 length header that is not a positive number.
    BadLength([u8; 6]),
    /// A message that does not begin with `cmd=` or `mcmd=`; its first bytes.
    NoCommand(Vec<u8>),
    /// A message with more than [`ATTRIBUTES_MAX`] attributes.
    TooManyAttributes,
    /// A spawn request for too many commands, or with other counts than its parts; what it does.
    BadSpawn(&'static str),
    /// A PMI-2 thread id of more than [`THREAD_ID_MAX`] bytes.
    ThreadIdTooLong,
    /// An attribute without which the message says nothing.
    Missing {
        /// The command, in the peer's own word.
        command: Vec<u8>,
        /// The name of the attribute.
        attribute: &'static str,
    },
    /// An attribute that should be a number, or a truth value, and is not.
    BadAttribute {
        /// The name of the attribute.
        attribute: &'static str,
        /// What was found, shortened.
        found: Vec<u8>,
    },
    /// An answer to something that was not asked.
    Unexpected {
        /// The answer that should have come.
        expected: &'static str,
        /// The one that came.
        got: Vec<u8>,
    },
}

/// Bytes of a peer that an error message repeats, at most.
pub(crate) const EXCERPT: usize = 40;

/// The start of what a peer sent, for an error message.
pub(crate) fn excerpt(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(EXCERPT)].to_vec()
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong => write!(f, "a PMI-1 line is longer than {LINE_MAX} bytes"),
            Self::SpawnTooLong => {
                write!(f, "a PMI-1 spawn request is longer than {SPAWN_MAX} bytes")
            }
            Self::MessageTooLong(length) => {
                write!(f, "a PMI-2 message announces {length} bytes, more than {MESSAGE_MAX}")
            }
            Self::BadLength(header) => {
                write!(
                    f,
                    "a PMI-2 message begins with \"{}\" instead of its length",
                    header.escape_ascii()
                )
            }
            Self::NoCommand(start) => {
                write!(f, "a message begins with \"{}\" instead of cmd=", start.escape_ascii())
            }
            Self::TooManyAttributes => {
                write!(f, "a message has more than {ATTRIBUTES_MAX} attributes")
            }
            Self::BadSpawn(what) => write!(f, "a spawn request {what}"),
            Self::ThreadIdTooLong => write!(f, "a thread id is longer than {THREAD_ID_MAX} bytes"),
            Self::Missing { command, attribute } => {
                write!(f, "\"{}\" comes without {attribute}=", command.escape_ascii())
            }
            Self::BadAttribute { attribute, found } => {
                write!(f, "{attribute}=\"{}\" is not what it should be", found.escape_ascii())
            }
            Self::Unexpected { expected, got } => {
                write!(f, "\"{}\" came instead of the answer {expected}", got.escape_ascii())
            }
        }
    }
}

impl std::error::Error for Violation {}
