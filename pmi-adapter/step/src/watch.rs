//! Asking the server how the job stands: a state machine without sockets and clock. Times are microseconds.

use pmi_protocol::limits::{SILENCE_MAX_US, STALL_US};
use pmi_protocol::pace::Micros;

use crate::message::{self, MacKey, Message, Nonce, State, Tag};

/// Between two questions: a rank that computes hears so late, at most, that its job is over.
const INTERVAL_US: Micros = 1_000_000;

/// What each further node adds to that: the server takes less than so long for a question.
const CROWD_US: Micros = 50;

/// Between two questions after the server's host has said that nobody listens there.
const REFUSED_US: Micros = 300_000;

/// So many refusals in a row are no accident.
const REFUSALS_MAX: u32 = 3;

const _: () = assert!(REFUSED_US < INTERVAL_US && INTERVAL_US < STALL_US);

/// A look at the server from afar.
pub struct Watch {
    tag: Tag,
    key: MacKey,
    nonce: Nonce,
    interval: Micros,
    due: Micros,
    heard: Micros,
    refusals: u32,
    answered: bool,
}

impl Watch {
    /// Watches the server of a job of `size` ranks from now on. `nonce` is random.
    pub fn new(now: Micros, tag: Tag, secret: &[u8; 32], size: u32, nonce: Nonce) -> Watch {
        let interval = INTERVAL_US + CROWD_US * u64::from(size);
        let key = MacKey::derive(secret);
        Watch {
            tag,
            key,
            nonce,
            interval,
            due: now + interval,
            heard: now,
            refusals: 0,
            answered: true,
        }
    }

    /// When to call [`poll`](Self::poll) next.
    pub fn due(&self) -> Micros {
        self.due
    }

    /// Nobody has asked for a while: the silence since then means nothing.
    pub fn resume(&mut self, now: Micros) {
        self.heard = now;
    }

    /// The next question, if it is time for it.
    pub fn poll(&mut self, now: Micros) -> Option<Vec<u8>> {
        if now < self.due {
            return None;
        }
        if self.answered {
            self.nonce = (u128::from_le_bytes(self.nonce).wrapping_add(1)).to_le_bytes();
        }
        self.answered = false;
        self.due = now + if self.refusals > 0 { REFUSED_US } else { self.interval };
        Some(message::check(self.tag, &self.key, &self.nonce))
    }

    /// Takes a datagram in; how the job stands, if it says so.
    pub fn handle(&mut self, now: Micros, bytes: &[u8]) -> Option<State> {
        match message::parse(self.tag, Some(&self.key), bytes)? {
            Message::State(nonce, state) if nonce == self.nonce => {
                (self.heard, self.refusals, self.answered) = (now, 0, true);
                Some(state)
            }
            _ => None,
        }
    }

    /// The server's host says that nobody listens there.
    pub fn refused(&mut self, now: Micros) {
        self.refusals += 1;
        self.due = self.due.min(now + REFUSED_US);
    }

    /// Is the server gone, and how is that known?
    pub fn is_gone(&self, now: Micros) -> Option<&'static str> {
        if self.refusals >= REFUSALS_MAX {
            Some("its host says that nobody listens there")
        } else if now.saturating_sub(self.heard) > SILENCE_MAX_US {
            Some("it has been silent for a minute")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::StepKey;

    fn watch() -> (Watch, Tag, MacKey) {
        let tag = Tag::of(&StepKey([1; 32]));
        (Watch::new(0, tag, &[2; 32], 4, [3; 16]), tag, MacKey::derive(&[2; 32]))
    }

    /// The answer to a question.
    fn answer(tag: Tag, key: &MacKey, question: &[u8], state: &State) -> Vec<u8> {
        match message::parse(tag, Some(key), question) {
            Some(Message::Check(nonce)) => message::state(tag, key, &nonce, state),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_answer_to_the_last_question_counts() {
        let (mut watch, tag, key) = watch();
        assert!(watch.poll(0).is_none());
        let first = watch.poll(watch.due()).unwrap();
        let running = answer(tag, &key, &first, &State::Running);
        assert_eq!(watch.handle(1, &running), Some(State::Running));
        let second = watch.poll(watch.due()).unwrap();
        assert_eq!(watch.handle(2, &running), None, "an old answer, repeated");
        let over = State::Over { code: 1, rank: None, text: "x".into() };
        assert_eq!(watch.handle(3, &answer(tag, &key, &second, &over)), Some(over));
    }

    #[test]
    fn a_lost_answer_may_come_late() {
        let (mut watch, tag, key) = watch();
        let first = watch.poll(watch.due()).unwrap();
        let again = watch.poll(watch.due()).unwrap();
        assert_eq!(first, again);
        assert!(watch.handle(9, &answer(tag, &key, &first, &State::Finished)).is_some());
    }

    #[test]
    fn a_server_that_is_gone_is_noticed() {
        let (mut watch, tag, key) = watch();
        watch.refused(0);
        watch.refused(1);
        assert_eq!(watch.is_gone(1), None);
        let question = watch.poll(watch.due()).unwrap();
        watch.handle(2, &answer(tag, &key, &question, &State::Running));
        (0..REFUSALS_MAX).for_each(|_| watch.refused(3));
        assert!(watch.is_gone(3).is_some());
    }

    #[test]
    fn silence_is_borne_for_a_minute() {
        let (mut watch, ..) = watch();
        assert_eq!(watch.is_gone(SILENCE_MAX_US), None);
        assert!(watch.is_gone(SILENCE_MAX_US + 1).is_some());
        watch.resume(SILENCE_MAX_US);
        assert_eq!(watch.is_gone(SILENCE_MAX_US + 1), None);
    }
}
