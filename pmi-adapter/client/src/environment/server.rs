//! The three variables that lead to the key-value server.

use std::fmt;

use pmi_protocol::limits::JOB_NAME_MAX;

use super::EnvironmentError;
use super::reader::Reader;

const NAMES: [&str; 3] = ["PMI_KVS_SERVER", "PMI_KVS_JOB", "PMI_KVS_SECRET"];

/// Bytes of a job's secret.
const SECRET_LEN: usize = 32;

/// Where the server of a job is, and how it knows us.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Host (name or address, no brackets) and UDP port of each of the server's addresses.
    pub addresses: Vec<(String, u16)>,
    /// Name of the job, which is the kvsname of its process group.
    pub job: String,
    /// The job's 256-bit key.
    pub secret: [u8; SECRET_LEN],
}

/// Without the secret: debug output ends up in logs.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .field("job", &self.job)
            .finish()
    }
}

impl Server {
    /// All three variables, or none of them.
    pub(super) fn read(reader: &Reader<'_>) -> Result<Option<Server>, EnvironmentError> {
        let [Some(servers), Some(job), Some(secret)] = NAMES.map(|name| reader.text(name)) else {
            return all_missing(reader);
        };
        let addresses = servers.split(',').map(parse_address).collect::<Option<Vec<_>>>();
        let form =
            "host:port, or several separated by commas; an IPv6 address in brackets, as [::1]:5000";
        let addresses = addresses.ok_or_else(|| reader.malformed(NAMES[0], form))?;
        if job.len() > JOB_NAME_MAX {
            return Err(reader.malformed(NAMES[1], &format!("at most {JOB_NAME_MAX} bytes")));
        }
        Ok(Some(Server { addresses, job, secret: parse_secret(&secret)? }))
    }
}

/// Nothing set is no server; something missing is an error that names it.
fn all_missing(reader: &Reader<'_>) -> Result<Option<Server>, EnvironmentError> {
    let (set, missing): (Vec<&str>, Vec<&str>) = NAMES.iter().partition(|name| reader.is_set(name));
    match set.first() {
        None => Ok(None),
        Some(set) => Err(EnvironmentError(format!(
            "{set} is set, but {} is not (or is empty): a server needs PMI_KVS_SERVER, PMI_KVS_JOB and \
             PMI_KVS_SECRET",
            missing.join(" and "),
        ))),
    }
}

pub(super) fn parse_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// The message must not show what the secret is, only how long.
fn parse_secret(text: &str) -> Result<[u8; SECRET_LEN], EnvironmentError> {
    let text = text.trim();
    let mut secret = [0; SECRET_LEN];
    if text.len() != 2 * SECRET_LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let length = text.chars().count();
        return Err(EnvironmentError(format!(
            "PMI_KVS_SECRET: expected 64 hex digits, found {length} characters that are not that"
        )));
    }
    for (byte, digits) in secret.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
        *byte = digit(digits[0]) << 4 | digit(digits[1]);
    }
    Ok(secret)
}
