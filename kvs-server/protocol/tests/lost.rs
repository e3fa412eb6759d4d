//! Nodes whose host does not answer any more: what the ends of their lifelines do, and what they must not do.

mod common;

use common::{Address, Bench, Node, header, sealed};
use pmi_protocol::datagram::{Kind, encode_hello};
use pmi_protocol::exchange::Peer;
use pmi_protocol::limits::LOST_GRACE_US;
use pmi_protocol::ranks::RankRange;
use pmi_protocol::server::Event;

const PORT: u16 = 4711;

fn line_of(node: u64) -> Address {
    Address(node).at_port(PORT)
}

/// Two nodes of two ranks each that have joined, and whose lifelines the server holds.
fn watched() -> Bench {
    let mut bench = Bench::new(4);
    bench.server.listen();
    for id in [1, 2] {
        let first = 2 * (id as u32 - 1);
        let mut node = bench.joining(id, &[first, first + 1]);
        node.exchange.claim_line(PORT);
        bench.run(&mut [&mut node], 3);
        assert_eq!(node.exchange.watched(), Some(false));
        assert!(bench.server.connected(line_of(id)));
    }
    bench
}

fn arrival(bench: &Bench, id: u64) -> Node {
    let first = 2 * (id as u32 - 1);
    let mut node = bench.barrier(id, &[first, first + 1], 1, &[]);
    node.exchange.claim_line(PORT);
    node
}

/// The host of node 2 stops to answer.
fn lose(bench: &mut Bench) {
    bench.server.disconnected(bench.now, line_of(2), true);
}

#[test]
fn a_barrier_that_waits_for_a_lost_node_ends_with_its_ranks_and_host() {
    let mut bench = watched();
    let mut waiting = arrival(&bench, 1);
    bench.run(&mut [&mut waiting], 1);
    lose(&mut bench);
    let due = bench.server.due().unwrap();
    assert_eq!(due, bench.now + LOST_GRACE_US);
    assert!(bench.tick(due - 1).is_empty());
    for (to, datagram) in bench.tick(due) {
        if to == waiting.address {
            waiting.hear(due, &datagram);
        }
    }
    let (code, refused, text) = waiting.fault().unwrap();
    assert!(code == 1 && !refused);
    assert!(text.starts_with("host host2 (ranks 2-3) does not answer any more"), "{text}");
    assert!(matches!(&bench.events[..], [Event::Fault { rank: None, .. }]), "{:?}", bench.events);
    assert_eq!(bench.server.due(), None);
}

#[test]
fn a_node_that_stands_in_the_barrier_is_missed_too() {
    let mut bench = watched();
    let mut gone = arrival(&bench, 2);
    bench.run(&mut [&mut gone], 1);
    lose(&mut bench);
    bench.tick(bench.now + LOST_GRACE_US);
    assert!(matches!(&bench.events[..], [Event::Fault { .. }]));
}

#[test]
fn without_a_barrier_the_launcher_is_told_once_and_the_next_barrier_ends() {
    let mut bench = watched();
    lose(&mut bench);
    let due = bench.server.due().unwrap();
    bench.tick(due);
    let [Event::Lost { text, .. }] = &bench.events[..] else { panic!("{:?}", bench.events) };
    assert!(text.contains("host2 (ranks 2-3)"), "{text}");
    assert_eq!(bench.server.due(), None);
    bench.now = due + 1_000_000;
    let mut waiting = arrival(&bench, 1);
    bench.run(&mut [&mut waiting], 1);
    bench.tick(bench.now + LOST_GRACE_US - 100_000);
    assert_eq!(bench.events.len(), 1);
    bench.tick(bench.now + LOST_GRACE_US);
    assert!(matches!(&bench.events[1..], [Event::Fault { .. }]));
}

#[test]
fn a_lost_node_that_is_heard_of_again_is_taken_back() {
    let mut bench = watched();
    let mut waiting = arrival(&bench, 1);
    bench.run(&mut [&mut waiting], 1);
    lose(&mut bench);
    let mut back = arrival(&bench, 2);
    bench.run(&mut [&mut waiting, &mut back], 9);
    assert!(waiting.mark().is_some() && back.mark().is_some());
    assert_eq!((back.exchange.watched(), bench.server.due()), (Some(false), None));
    bench.tick(bench.now + 10 * LOST_GRACE_US);
    assert!(bench.events.is_empty(), "{:?}", bench.events);
}

#[test]
fn a_connection_that_its_other_side_ends_says_nothing() {
    let mut bench = watched();
    let mut waiting = arrival(&bench, 1);
    bench.run(&mut [&mut waiting], 1);
    bench.server.disconnected(bench.now, line_of(2), false);
    bench.tick(bench.now + 2 * LOST_GRACE_US);
    assert!(bench.events.is_empty(), "{:?}", bench.events);
}

#[test]
fn the_end_of_an_old_lifeline_says_nothing_once_another_is_claimed() {
    let mut bench = watched();
    let mut node = arrival(&bench, 2);
    node.exchange.claim_line(PORT + 1);
    bench.run(&mut [&mut node], 1);
    assert!(!bench.server.connected(line_of(2)), "the old one belongs to nobody");
    lose(&mut bench);
    bench.tick(bench.now + 2 * LOST_GRACE_US);
    assert!(bench.events.is_empty(), "{:?}", bench.events);
    assert!(bench.server.connected(Address(2).at_port(PORT + 1)));
}

#[test]
fn a_node_that_has_left_is_not_missed() {
    let mut bench = watched();
    let leave = sealed(&header(Kind::Leave, 2, 0), &[RankRange { first: 2, last: 3 }], &[]);
    bench.serve(Address(2), &leave);
    lose(&mut bench);
    assert_eq!(bench.server.due(), None);
}

#[test]
fn nobody_claims_a_lifeline_with_a_forged_or_an_old_datagram() {
    let mut bench = watched();
    let mut nodes = [arrival(&bench, 1), arrival(&bench, 2)];
    let [a, b] = &mut nodes;
    bench.run(&mut [a, b], 3);
    let claim = |kind, epoch| {
        let header = pmi_protocol::datagram::Header { incarnation: 9, ..header(kind, 2, epoch) };
        sealed(&header, &[RankRange { first: 2, last: 3 }], &encode_hello(4, "host2"))
    };
    let mut forged = claim(Kind::Hello, 1);
    forged[44] ^= 1;
    for datagram in [claim(Kind::Hello, 0), claim(Kind::Pull, 1), forged] {
        bench.serve(Address(66), &datagram);
        assert!(!bench.server.connected(Address(66).at_port(9)));
        assert!(!bench.server.connected(Address(66).at_port(8)));
    }
    bench.serve(Address(2), &claim(Kind::Hello, 1));
    assert!(bench.server.connected(Address(2).at_port(9)));
}

#[test]
fn a_server_that_does_not_listen_says_nothing_of_lifelines() {
    let mut bench = Bench::new(1);
    let mut node = bench.joining(1, &[0]);
    bench.run(&mut [&mut node], 1);
    assert_eq!(node.exchange.watched(), None);
}

#[test]
fn a_node_that_has_something_else_to_wait_for_announces_its_lifeline() {
    let mut bench = watched();
    bench.restart();
    bench.server.listen();
    let mut node = bench.barrier(1, &[0, 1], 0, &[]);
    node.exchange.claim_line(7);
    let mut out = Default::default();
    node.exchange.announce(&mut out);
    let hello = out.iter().next().map(|(_, bytes): (Address, &[u8])| bytes.to_vec()).unwrap();
    bench.serve(Address(1), &hello);
    assert!(bench.server.connected(Address(1).at_port(7)));
}
