//! The secret and the name of a job.

use std::io;
use std::time::SystemTime;

use pmi_protocol::key::Secret;

use crate::sys;

/// Bytes of a host name that go into a job name; a longer one is cut. Any job name stays far below
/// `JOB_NAME_MAX`, and below the 64 bytes or so to which some MPI libraries cut names of shared memory.
const HOST_PART: usize = 24;

/// A new key for a job, from the system's random generator.
pub fn new_secret() -> io::Result<Secret> {
    let mut bytes = [0; 32];
    sys::fill_random(&mut bytes)?;
    Ok(Secret::new(bytes))
}

/// This host's name, or `localhost` if it has none that can be printed.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

/// A job name that this host has never seen before: `<starter>.<host>.<pid>.<time in hex>`. MPICH names
/// shared memory after it, and a name that is used again after a killed job would hang the next.
pub fn job_name(starter: &str, host: &str) -> String {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let host: String = host.chars().take(HOST_PART).map(plain).collect();
    format!("{starter}.{host}.{}.{:x}", std::process::id(), since_epoch.as_nanos())
}

/// Letters, digits, dots and dashes stay: no MPI library or file system gives them a meaning of their own.
fn plain(character: char) -> char {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => character,
        _ => '-',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pmi_protocol::limits::JOB_NAME_MAX;

    #[test]
    fn keys_differ_and_are_printed_as_hex_only_when_asked() {
        let (a, b) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.to_hex().len(), 64);
        assert!(a.to_hex().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(format!("{a:?}"), "Secret(…)");
    }

    #[test]
    fn job_names_are_unique_and_hold_no_odd_characters() {
        let host = "nöde_7 x=/;".repeat(40);
        let (a, b) = (job_name("pmi-ssh", &host), job_name("pmi-ssh", &host));
        assert_ne!(a, b);
        assert!(a.starts_with("pmi-ssh.n-de-7-x"), "{a}");
        assert!(a.len() < JOB_NAME_MAX && a.chars().all(|c| plain(c) == c), "{a}");
    }
}
