//! The job secret and the two direction keys derived from it.

use std::fmt;

/// A job's 256-bit secret, as in `PMI_KVS_SECRET`. Never printed, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Secret(bytes)
    }

    /// Reads 64 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Secret(*hash.as_bytes()))
    }

    /// The 64 hex digits of `PMI_KVS_SECRET`.
    pub fn to_hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// The raw bytes, for deriving further keys.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Which way a datagram goes. Each way has a key of its own, so none can be reflected to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a node to the server.
    Up,
    /// From the server to a node.
    Down,
}

/// The keys of both directions.
#[derive(Clone)]
pub struct Keys {
    up: [u8; 32],
    down: [u8; 32],
}

/// Bytes of an authentication tag: 128 bits, the security level of the key's hash against forgery.
pub const TAG_LEN: usize = 16;

impl Keys {
    /// Derives both keys from the job secret.
    pub fn derive(secret: &Secret) -> Self {
        Keys {
            up: blake3::derive_key("pmi-adapter v1 datagram to server", secret.as_bytes()),
            down: blake3::derive_key("pmi-adapter v1 datagram to node", secret.as_bytes()),
        }
    }

    /// The tag of a datagram that consists of `parts`.
    pub fn tag(&self, direction: Direction, parts: [&[u8]; 2]) -> [u8; TAG_LEN] {
        let key = match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        let mut hasher = blake3::Hasher::new_keyed(key);
        parts.iter().for_each(|part| {
            hasher.update(part);
        });
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG_LEN]);
        tag
    }
}

/// Compares two tags in a time that does not depend on where they differ.
pub fn tags_match(a: &[u8; TAG_LEN], b: &[u8; TAG_LEN]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y))) == 0
}

/// The group number of a kvsname in datagrams.
pub fn group_number(kvsname: &str) -> u64 {
    let hash = blake3::hash(kvsname.as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_and_never_shown() {
        let secret = Secret::new([0xa5; 32]);
        assert_eq!(Secret::from_hex(&secret.to_hex()), Some(secret.clone()));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(Secret::from_hex("a5"), None);
        assert_eq!(Secret::from_hex(&"g".repeat(64)), None);
    }

    #[test]
    fn each_direction_has_its_own_tag() {
        let keys = Keys::derive(&Secret::new([1; 32]));
        let up = keys.tag(Direction::Up, [b"ab", b"c"]);
        let down = keys.tag(Direction::Down, [b"ab", b"c"]);
        assert!(!tags_match(&up, &down));
        assert!(tags_match(&up, &keys.tag(Direction::Up, [b"a", b"bc"])));
    }
}
