//! The variables that lead to the server of another starter, which speaks the simple wire protocol.

use std::fmt;

use super::EnvironmentError;
use super::reader::Reader;

/// Descriptors are small numbers; `int` holds them.
const DESCRIPTOR_MAX: u64 = i32::MAX as u64;

/// What the environment says of a server of another starter. Which of the two ways to it is open, if any, is
/// not known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// `PMI_FD`: a descriptor inherited from the starter, connected with its server.
    pub descriptor: Option<i32>,
    /// `PMI_PORT` and `PMI_ID`: a server to connect with.
    pub port: Option<Port>,
    /// `PMI_JOBID`, which Slurm sets.
    pub job: Option<String>,
}

/// A server that listens on TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name or address, no brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `PMI_ID`: who we are to this server. Usually the rank, but only the server knows.
    pub id: String,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PMI_PORT={}:{}, PMI_ID={}", self.host, self.port, self.id)
    }
}

impl Wire {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Wire, EnvironmentError> {
        let descriptor = reader.number("PMI_FD", 0, DESCRIPTOR_MAX)?;
        Ok(Wire {
            descriptor: descriptor.map(|number| number as i32),
            port: Port::read(reader)?,
            job: reader.text("PMI_JOBID"),
        })
    }
}

impl Port {
    fn read(reader: &Reader<'_>) -> Result<Option<Port>, EnvironmentError> {
        let Some(text) = reader.text("PMI_PORT") else { return Ok(None) };
        let malformed = || reader.malformed("PMI_PORT", "host:port");
        let (host, port) = super::server::parse_address(&text).ok_or_else(malformed)?;
        match reader.text("PMI_ID") {
            Some(id) => Ok(Some(Port { host, port, id })),
            None => Err(EnvironmentError(
                "PMI_PORT is set, but PMI_ID is not: a PMI server knows its processes by their ids"
                    .into(),
            )),
        }
    }
}
