//! Why a call of a session failed.

use std::fmt;

use pmi_protocol::limits::{KEY_MAX, VALUE_MAX};

/// Why a call failed. The text of each says what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The kvsname is not one of this job's, or its space has been destroyed.
    NoSuchSpace,
    /// The space has no such key.
    NoSuchKey,
    /// The key is empty or longer than its limit.
    KeyLength,
    /// The value is longer than its limit.
    ValueLength,
    /// The log is full.
    Full(String),
    /// The job is over: a rank died or called `PMI_Abort`.
    Over(String),
    /// `PMI_TIMEOUT` has passed, or the server is silent.
    Timeout(String),
    /// The job turned this rank away: wrong size, rank taken, ….
    Refused(String),
    /// The operating system did.
    System(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoSuchSpace => {
                write!(f, "no such kvsname: take it from PMI_KVS_Get_my_name or PMI_KVS_Create")
            }
            Error::NoSuchKey => write!(
                f,
                "no such key: a pair is visible to others after its rank's commit and a barrier"
            ),
            Error::KeyLength => write!(f, "a key must have 1 to {KEY_MAX} characters"),
            Error::ValueLength => write!(f, "a value must have at most {VALUE_MAX} characters"),
            Error::Over(text) => write!(f, "the job is over: {text}"),
            Error::Full(text)
            | Error::Timeout(text)
            | Error::Refused(text)
            | Error::System(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
