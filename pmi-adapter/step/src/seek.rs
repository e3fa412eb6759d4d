//! Finding the server: a state machine without sockets and clock. Times are microseconds.

use std::net::{IpAddr, SocketAddr};

use pmi_protocol::pace::Micros;

use crate::message::{self, MacKey, Message, Nonce, Promise, State, Tag};

/// From the first question to the second. It doubles each time: the server may not be up yet, and then soon is.
const FIRST_US: Micros = 1_000;

/// Slowest repetition: nobody waits longer for a server that has just come up.
const SLOWEST_US: Micros = 250_000;

/// Questions that go to the best candidate alone; the others are asked when it does not answer.
const BEST_ALONE: u32 = 2;

/// How long whoever has sent a good credential may take to show that he has its secret. Then we ask again: it may have
/// been an old one, repeated.
const PROOF_US: Micros = 2_000_000;

const _: () = assert!(FIRST_US < SLOWEST_US && SLOWEST_US < PROOF_US);

/// A server that has shown that it is the one.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it answers.
    pub server: SocketAddr,
    /// The job's key.
    pub secret: [u8; 32],
}

/// A search.
pub struct Seek {
    tag: Tag,
    hosts: Vec<IpAddr>,
    ports: Vec<u16>,
    nonce: Nonce,
    asked: u32,
    due: Micros,
    pause: Micros,
    promise: Option<(Promise, MacKey, Micros)>,
}

/// Datagrams to send.
pub type Out = Vec<(SocketAddr, Vec<u8>)>;

impl Seek {
    /// A search on these ports of these addresses. `nonce` is random.
    pub fn new(tag: Tag, hosts: Vec<IpAddr>, ports: Vec<u16>, nonce: Nonce) -> Seek {
        Seek { tag, hosts, ports, nonce, asked: 0, due: 0, pause: FIRST_US, promise: None }
    }

    /// When to call [`poll`](Self::poll) next.
    pub fn due(&self) -> Micros {
        self.due
    }

    /// Asks, if it is time to.
    pub fn poll(&mut self, now: Micros, out: &mut Out) {
        if now < self.due {
            return;
        }
        if self.promise.as_ref().is_some_and(|(_, _, until)| *until <= now) {
            self.promise = None;
            self.pause = FIRST_US;
        }
        match &self.promise {
            Some((promise, key, _)) => {
                let datagram = message::check(self.tag, key, &self.nonce);
                let to = |ip: &IpAddr| (SocketAddr::new(*ip, promise.port), datagram.clone());
                out.extend(self.hosts.iter().map(to));
            }
            None => self.ask(out),
        }
        self.due = now + self.pause;
        self.pause = SLOWEST_US.min(2 * self.pause);
    }

    fn ask(&mut self, out: &mut Out) {
        let count = if self.asked < BEST_ALONE { 1 } else { self.ports.len() };
        self.asked += 1;
        let datagram = message::ask(self.tag);
        for port in &self.ports[..count.min(self.ports.len())] {
            out.extend(self.hosts.iter().map(|ip| (SocketAddr::new(*ip, *port), datagram.clone())));
        }
    }

    /// Takes a datagram in. `open` reads a credential. Returns the server if this was its proof, and how its job stands.
    pub fn handle(
        &mut self,
        now: Micros,
        from: SocketAddr,
        bytes: &[u8],
        open: &mut dyn FnMut(&[u8]) -> Option<Promise>,
    ) -> Option<(Found, State)> {
        let key = self.promise.as_ref().map(|(_, key, _)| key);
        match message::parse(self.tag, key, bytes)? {
            // While one is to be proved, others wait: each costs a question to munged.
            Message::Answer(credential) if self.promise.is_none() => {
                let promise = open(credential)?;
                let key = MacKey::derive(&promise.secret);
                self.promise = Some((promise, key, now + PROOF_US));
                (self.due, self.pause) = (now, FIRST_US);
                None
            }
            Message::State(nonce, state) if nonce == self.nonce => {
                let (promise, ..) = self.promise.as_ref()?;
                Some((Found { server: from, secret: promise.secret }, state))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::StepKey;
    use proptest::prelude::Rng as _;
    use proptest::test_runner::{RngAlgorithm, TestRng};

    const STEP: StepKey = StepKey([3; 32]);
    const SECRET: [u8; 32] = [9; 32];
    const PORTS: [u16; 4] = [1000, 1001, 1002, 1003];

    fn host(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn seek() -> Seek {
        Seek::new(Tag::of(&STEP), vec![host(1), host(2)], PORTS.to_vec(), [5; 16])
    }

    /// Credentials here are the payload itself; one that a stranger has made has another first byte.
    fn open(credential: &[u8]) -> Option<Promise> {
        Promise::parse(&STEP, credential)
    }

    /// What a server at `here` says to a datagram for `to`.
    fn server(here: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
        let (tag, key) = (Tag::of(&STEP), MacKey::derive(&SECRET));
        match message::parse(tag, Some(&key), bytes).filter(|_| here == to)? {
            Message::Ask => {
                let promise = Promise { port: here.port(), secret: SECRET };
                message::answer(tag, &promise.payload(&STEP))
            }
            Message::Check(nonce) => Some(message::state(tag, &key, &nonce, &State::Running)),
            _ => None,
        }
    }

    /// What a stranger says who repeats what he has heard from the server, or makes things up.
    fn stranger(
        to: SocketAddr,
        bytes: &[u8],
        heard: &[Vec<u8>],
        out: &mut Vec<(SocketAddr, Vec<u8>)>,
    ) {
        out.extend(heard.iter().map(|old| (to, old.clone())));
        out.push((to, bytes.to_vec()));
        let forged = Promise { port: to.port(), secret: [0; 32] };
        let key = MacKey::derive(&forged.secret);
        out.push((to, message::state(Tag::of(&STEP), &key, &[5; 16], &State::Running)));
        out.extend(message::answer(Tag::of(&STEP), b"MUNGE:made up").map(|bytes| (to, bytes)));
    }

    /// Runs a search over a network that loses, doubles and reorders; returns when it ended, if it did.
    fn run(
        seed: u8,
        loss: u32,
        up_after: Micros,
        here: SocketAddr,
    ) -> Option<(Micros, SocketAddr)> {
        let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let mut seek = seek();
        let (mut flying, mut heard, mut now) = (Vec::new(), Vec::new(), 0);
        while now < 20_000_000 {
            let mut out = Vec::new();
            seek.poll(now, &mut out);
            let mut answers = Vec::new();
            for (to, bytes) in out.iter().filter(|_| now >= up_after) {
                answers.extend(server(here, *to, bytes).map(|answer| (here, answer)));
            }
            heard.extend(
                answers.iter().map(|(_, bytes)| bytes.clone()).take(4 - heard.len().min(4)),
            );
            for (to, bytes) in out.iter().filter(|(to, _)| *to != here) {
                stranger(*to, bytes, &heard, &mut answers);
            }
            for answer in answers {
                let copies = u32::from(random.next_u32() % 100 >= loss) + random.next_u32() % 2;
                for _ in 0..copies {
                    flying.push((now + u64::from(random.next_u32() % 5000), answer.clone()));
                }
            }
            flying.sort_by_key(|(at, _)| *at);
            now = flying.first().map_or(seek.due(), |(at, _)| (*at).min(seek.due())).max(now);
            while flying.first().is_some_and(|(at, _)| *at <= now) {
                let (_, (from, bytes)) = flying.remove(0);
                if let Some((found, _)) = seek.handle(now, from, &bytes, &mut open) {
                    assert!(found.secret == SECRET);
                    return Some((now, found.server));
                }
            }
        }
        None
    }

    #[test]
    fn the_server_is_found_among_strangers_over_a_bad_network() {
        for seed in 0..100 {
            let here = SocketAddr::new(host(1 + seed % 2), PORTS[usize::from(seed) % 4]);
            let found = run(seed, 40, u64::from(seed) * 20_000, here);
            assert!(found.is_some(), "seed {seed}");
        }
    }

    #[test]
    fn nobody_is_found_where_there_is_no_server() {
        assert_eq!(run(1, 0, Micros::MAX, SocketAddr::new(host(1), PORTS[0])), None);
    }

    #[test]
    fn only_the_best_candidate_is_asked_at_first() {
        let (mut seek, mut out) = (seek(), Vec::new());
        seek.poll(0, &mut out);
        assert_eq!(out.len(), 2, "one port of two addresses");
        seek.poll(1, &mut out);
        assert_eq!(out.len(), 2, "it is not time yet");
        let due = seek.due();
        seek.poll(due, &mut out);
        let due = seek.due();
        seek.poll(due, &mut out);
        assert_eq!(out.len(), 2 + 2 + 8);
    }

    #[test]
    fn a_promise_that_nobody_keeps_is_given_up() {
        let (mut seek, mut out) = (seek(), Vec::new());
        let stale = Promise { port: 7, secret: [1; 32] }.payload(&STEP);
        let answer = message::answer(Tag::of(&STEP), &stale).unwrap();
        seek.handle(0, SocketAddr::new(host(1), 1000), &answer, &mut open);
        seek.poll(0, &mut out);
        assert!(out.iter().all(|(to, _)| to.port() == 7));
        out.clear();
        seek.poll(PROOF_US + SLOWEST_US, &mut out);
        assert!(out.iter().all(|(to, _)| PORTS.contains(&to.port())));
    }
}
