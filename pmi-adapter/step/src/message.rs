//! The datagrams by which a step's processes find the server, and learn how the job stands.
//!
//! ```text
//!  0  u8[3] "STP"   3  u8 version 1   4  u8 kind   5  u8[16] tag of the step
//! 21  Ask     zeros up to 1,024 bytes: nobody gets more out of the server than he has put in
//! 21  Answer  a MUNGE credential
//! 21  Check   u8[16] nonce, u8[16] mac
//! 21  State   u8[16] nonce, u8 state, i32 code, u32 rank (or all ones), text, u8[16] mac
//! ```
//!
//! Anybody may ask: the answer is a credential that only this user's processes can read. What follows is authenticated
//! with the job's secret, which that credential holds: so who answers a fresh nonce is the server, and not somebody who
//! repeats what the server once said.

use pmi_protocol::limits::TEXT_MAX;

use crate::step::StepKey;

/// How each datagram begins. Those of the job's own protocol begin with `PMI`.
pub const MAGIC: [u8; 4] = *b"STP\x01";

/// Bytes of a question, and most of an answer: below what every path carries in one piece (RFC 8200, section 5).
pub const ASK_LEN: usize = 1024;

/// Most bytes of a credential: MUNGE makes some 300 of what we put into it.
pub const CREDENTIAL_MAX: usize = ASK_LEN - HEAD;

const HEAD: usize = 21;
const NONCE: usize = 16;
const MAC: usize = 16;
const STATE_HEAD: usize = HEAD + NONCE + 9;
const NO_RANK: u32 = u32::MAX;

/// Largest datagram of this protocol.
pub const LEN_MAX: usize = ASK_LEN;

const _: () = assert!(STATE_HEAD + TEXT_MAX + MAC <= LEN_MAX);

/// Drawn anew for each check.
pub type Nonce = [u8; NONCE];

/// The number under which a step's datagrams go. No secret: it keeps neighbours apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag([u8; 16]);

impl Tag {
    /// Of a step.
    pub fn of(key: &StepKey) -> Tag {
        let mut tag = [0; 16];
        key.derive("tag").fill(&mut tag);
        Tag(tag)
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Running,
    /// All of its ranks have left in order.
    Finished,
    /// It has ended before its time.
    Over {
        /// Exit code asked for.
        code: i32,
        /// The rank at fault, if there is one.
        rank: Option<u32>,
        /// What happened.
        text: String,
    },
}

/// A datagram that has been taken apart, and whose tag and authentication are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Where are you, and what is the secret?
    Ask,
    /// A credential.
    Answer(&'a [u8]),
    /// How does the job stand?
    Check(Nonce),
    /// It stands so.
    State(Nonce, State),
}

/// The key that authenticates what is said about a job.
#[derive(Clone)]
pub struct MacKey([u8; 32]);

impl MacKey {
    /// From the job's secret.
    pub fn derive(secret: &[u8; 32]) -> MacKey {
        MacKey(blake3::derive_key("pmi-adapter 2026 state of a Slurm step v1", secret))
    }

    fn mac(&self, bytes: &[u8]) -> [u8; MAC] {
        let mut mac = [0; MAC];
        mac.copy_from_slice(&blake3::keyed_hash(&self.0, bytes).as_bytes()[..MAC]);
        mac
    }

    /// The part that is authenticated, if it is.
    fn open<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (body, mac) = bytes.split_last_chunk::<MAC>()?;
        pmi_protocol::key::tags_match(mac, &self.mac(body)).then_some(body)
    }
}

fn head(tag: Tag, kind: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN_MAX);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(kind);
    bytes.extend_from_slice(&tag.0);
    bytes
}

/// A question.
pub fn ask(tag: Tag) -> Vec<u8> {
    let mut bytes = head(tag, 1);
    bytes.resize(ASK_LEN, 0);
    bytes
}

/// An answer. None if the credential is too long.
pub fn answer(tag: Tag, credential: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = head(tag, 2);
    bytes.extend_from_slice(credential);
    (credential.len() <= CREDENTIAL_MAX).then_some(bytes)
}

/// A question about the job.
pub fn check(tag: Tag, key: &MacKey, nonce: &Nonce) -> Vec<u8> {
    let mut bytes = head(tag, 3);
    bytes.extend_from_slice(nonce);
    sealed(key, bytes)
}

/// The answer to it. Of a text only the first 512 bytes go.
pub fn state(tag: Tag, key: &MacKey, nonce: &Nonce, state: &State) -> Vec<u8> {
    let (number, code, rank, text) = match state {
        State::Running => (0, 0, None, ""),
        State::Finished => (1, 0, None, ""),
        State::Over { code, rank, text } => (2, *code, *rank, text.as_str()),
    };
    let mut bytes = head(tag, 4);
    bytes.extend_from_slice(nonce);
    bytes.push(number);
    bytes.extend_from_slice(&code.to_le_bytes());
    bytes.extend_from_slice(&rank.unwrap_or(NO_RANK).to_le_bytes());
    bytes.extend_from_slice(&text.as_bytes()[..text.len().min(TEXT_MAX)]);
    sealed(key, bytes)
}

fn sealed(key: &MacKey, mut bytes: Vec<u8>) -> Vec<u8> {
    let mac = key.mac(&bytes);
    bytes.extend_from_slice(&mac);
    bytes
}

/// Takes a datagram apart. None if it is malformed, of another step, or not authenticated; without a key, so is
/// everything that must be.
pub fn parse<'a>(tag: Tag, key: Option<&MacKey>, bytes: &'a [u8]) -> Option<Message<'a>> {
    let kind = *bytes.get(MAGIC.len())?;
    let ours = bytes.len() <= LEN_MAX && bytes.starts_with(&MAGIC);
    let body = bytes.get(HEAD..).filter(|_| ours && bytes[MAGIC.len() + 1..HEAD] == tag.0)?;
    match kind {
        1 => (bytes.len() == ASK_LEN).then_some(Message::Ask),
        2 => Some(Message::Answer(body)),
        3 => {
            let body = key?.open(bytes)?.get(HEAD..)?;
            Some(Message::Check(body.try_into().ok()?))
        }
        4 => parse_state(key?.open(bytes)?.get(HEAD..)?),
        _ => None,
    }
}

fn parse_state(body: &[u8]) -> Option<Message<'static>> {
    let (nonce, rest) = body.split_first_chunk::<NONCE>()?;
    let (number, rest) = rest.split_first()?;
    let (code, rest) = rest.split_first_chunk::<4>()?;
    let (rank, text) = rest.split_first_chunk::<4>()?;
    let state = match number {
        0 => State::Running,
        1 => State::Finished,
        2 => State::Over {
            code: i32::from_le_bytes(*code),
            rank: Some(u32::from_le_bytes(*rank)).filter(|rank| *rank != NO_RANK),
            text: String::from_utf8_lossy(text).into_owned(),
        },
        _ => return None,
    };
    Some(Message::State(*nonce, state))
}

/// What a credential holds: that it is an answer of this protocol, for which step, and the rest.
#[derive(Clone, PartialEq, Eq)]
pub struct Promise {
    /// The server's UDP port.
    pub port: u16,
    /// The job's 256-bit key.
    pub secret: [u8; 32],
}

/// So that no credential made for something else can be taken for one of ours.
const DOMAIN: &[u8] = b"pmi-adapter: answer of a Slurm step's server, v1\0";

impl Promise {
    /// What goes into the credential.
    pub fn payload(&self, step: &StepKey) -> Vec<u8> {
        [DOMAIN, &step.0, &self.port.to_le_bytes(), &self.secret].concat()
    }

    /// The other way. None if it was not made for this step.
    pub fn parse(step: &StepKey, payload: &[u8]) -> Option<Promise> {
        let rest = payload.strip_prefix(DOMAIN)?.strip_prefix(&step.0)?;
        let (port, secret) = rest.split_first_chunk::<2>()?;
        let port = u16::from_le_bytes(*port);
        (port != 0).then_some(Promise { port, secret: secret.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEP: StepKey = StepKey([3; 32]);
    const OTHER: StepKey = StepKey([4; 32]);

    fn over() -> State {
        State::Over { code: -3, rank: Some(5), text: "rank 5 died".into() }
    }

    #[test]
    fn what_is_said_is_understood_by_the_same_step_with_the_same_secret() {
        let (tag, key) = (Tag::of(&STEP), MacKey::derive(&[1; 32]));
        let parse = |bytes: &[u8]| parse(tag, Some(&key), bytes).map(|m| format!("{m:?}"));
        let show = |message: Message<'_>| Some(format!("{message:?}"));
        assert_eq!(parse(&ask(tag)), show(Message::Ask));
        assert_eq!(parse(&answer(tag, b"MUNGE:x").unwrap()), show(Message::Answer(b"MUNGE:x")));
        assert_eq!(parse(&check(tag, &key, &[7; 16])), show(Message::Check([7; 16])));
        for told in [State::Running, State::Finished, over()] {
            let bytes = state(tag, &key, &[8; 16], &told);
            assert_eq!(parse(&bytes), show(Message::State([8; 16], told)));
        }
        assert_eq!(answer(tag, &[b'x'; CREDENTIAL_MAX + 1]), None);
    }

    #[test]
    fn strangers_are_not_heard() {
        let (tag, key) = (Tag::of(&STEP), MacKey::derive(&[1; 32]));
        let wrong = MacKey::derive(&[2; 32]);
        for bytes in [check(tag, &wrong, &[7; 16]), state(tag, &wrong, &[7; 16], &over())] {
            assert_eq!(parse(tag, Some(&key), &bytes), None);
            assert_eq!(parse(tag, None, &bytes), None);
        }
        assert_eq!(parse(Tag::of(&OTHER), Some(&key), &ask(tag)), None);
        assert_eq!(parse(tag, Some(&key), &ask(tag)[..ASK_LEN - 1]), None, "a short question");
    }

    #[test]
    fn a_long_text_is_cut_and_fits() {
        let key = MacKey::derive(&[1; 32]);
        let told = State::Over { code: 1, rank: None, text: "x".repeat(5000) };
        let bytes = state(Tag::of(&STEP), &key, &[0; 16], &told);
        assert!(bytes.len() <= LEN_MAX);
        assert!(parse(Tag::of(&STEP), Some(&key), &bytes).is_some());
    }

    #[test]
    fn a_promise_is_for_one_step() {
        let promise = Promise { port: 17_000, secret: [9; 32] };
        let payload = promise.payload(&STEP);
        assert!(Promise::parse(&STEP, &payload) == Some(promise));
        assert!(Promise::parse(&OTHER, &payload).is_none());
        assert!(Promise::parse(&STEP, &payload[..payload.len() - 1]).is_none());
        assert!(Promise::parse(&STEP, b"").is_none());
    }

    proptest! {
        #[test]
        fn a_damaged_datagram_is_dropped(at in 0usize..100, bit in 0u8..8) {
            let (tag, key) = (Tag::of(&STEP), MacKey::derive(&[1; 32]));
            let mut bytes = state(tag, &key, &[8; 16], &over());
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let heard = parse(tag, Some(&key), &bytes);
            prop_assert!(matches!(heard, None | Some(Message::Answer(_))), "{:?}", heard);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>, tail: Vec<u8>) {
            let (tag, key) = (Tag::of(&STEP), MacKey::derive(&[1; 32]));
            let _ = parse(tag, Some(&key), &bytes);
            for kind in 0..6 {
                let mut headed = head(tag, kind);
                headed.extend_from_slice(&tail);
                let _ = parse(tag, Some(&key), &headed);
            }
            let _ = Promise::parse(&STEP, &bytes);
        }
    }
}
