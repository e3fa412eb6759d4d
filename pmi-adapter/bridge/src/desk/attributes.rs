//! Node attributes: put at once, got at once or when somebody has put them.

use std::time::Instant;

use pmi_wire::server::{Reply, Ticket, write};

use super::{Answer, ClientId, Desk, Late, SeatState, Visit, say};

/// A rank that waits for an attribute.
pub(super) struct AttributeWait {
    pub client: ClientId,
    seat: usize,
    pub ticket: Ticket,
    key: Vec<u8>,
    since: Instant,
}

impl Desk {
    /// Does anybody wait for a node attribute?
    pub fn waits_for_attributes(&self) -> bool {
        !self.attribute_waits.is_empty()
    }

    pub(super) fn put_attribute(
        &mut self,
        visit: &mut Visit<'_>,
        seat: usize,
        ticket: Ticket,
        key: &[u8],
        value: &[u8],
    ) {
        let done = self.ensemble.put_attribute(key, value);
        self.finish_put(visit, seat, ticket, key, done);
        self.look_at_attributes();
    }

    pub(super) fn get_attribute(
        &mut self,
        visit: &mut Visit<'_>,
        seat: usize,
        ticket: Ticket,
        key: &[u8],
        wait: bool,
    ) {
        let out = &mut *visit.out;
        let found =
            self.ensemble.board().attribute(key, |value| write(ticket, &Reply::Value(value), out));
        match found {
            Some(()) => {}
            None if wait => {
                let (client, key, since) = (visit.client, key.to_vec(), Instant::now());
                self.attribute_waits.push(AttributeWait { client, seat, ticket, key, since });
            }
            None => write(ticket, &Reply::NotFound { key }, out),
        }
    }

    /// Answers those whose attribute has been put meanwhile.
    pub fn look_at_attributes(&mut self) {
        let Desk { ensemble, attribute_waits, late, .. } = self;
        attribute_waits.retain(|AttributeWait { client, ticket, key, .. }| {
            let value = ensemble.board().attribute(key, <[u8]>::to_vec);
            let waits = value.is_none();
            late.extend(value.map(|value| Late {
                client: *client,
                ticket: *ticket,
                answer: Answer::Value(value),
            }));
            waits
        });
    }

    /// Gives up those whose attribute nobody will put, or not in time.
    pub fn give_up_attributes(&mut self) {
        let Desk { ensemble, attribute_waits, late, seats, .. } = self;
        attribute_waits.retain(|AttributeWait { client, seat, ticket, key, since }| {
            let SeatState { rank, member, .. } = seats[*seat];
            let outlook = member.map(|member| ensemble.attribute_outlook(member, key, *since));
            let Some(Err(error)) = outlook else { return true };
            say(rank, &error);
            let answer = Answer::Failed(error.to_string());
            late.push(Late { client: *client, ticket: *ticket, answer });
            false
        });
    }
}
