//! Barriers as they should go, and when datagrams are lost or delegates change.

mod common;

use common::{Address, Bench, put};
use pmi_protocol::datagram::{Kind, WANT_ACK};
use pmi_protocol::exchange::Goal;
use pmi_protocol::limits::{PUSH_MAX, RANGES_MAX, RETRANSMIT_FIRST_US, WINDOW_MAX};
use pmi_protocol::record::{RecordKind, records};

fn kind(datagram: &[u8]) -> u8 {
    datagram[4]
}

#[test]
fn two_nodes_see_each_others_puts_after_one_datagram_each_way() {
    let mut bench = Bench::new(2);
    let before = bench.kept.borrow().len() as u64;
    let mut a = bench.barrier(1, &[0], 1, &put("a", 5));
    let mut b = bench.barrier(2, &[1], 1, &put("b", 5));
    bench.run(&mut [&mut a, &mut b], 1);
    assert_eq!((a.mark(), a.mark()), (b.mark(), Some(bench.kept.borrow().len() as u64)));
    assert_eq!(a.log(before), b.log(before));
    assert_eq!(bench.server.counters().datagrams_in, 2);
    let log = a.log(before);
    let puts: Vec<_> =
        records(&log).filter(|(_, r)| r.kind == RecordKind::Put).map(|(_, r)| r.key).collect();
    assert_eq!(puts, [b"a", b"b"]);
}

#[test]
fn a_lost_release_is_found_by_the_next_retransmission() {
    let mut bench = Bench::new(2);
    let mut a = bench.barrier(1, &[0], 1, &put("a", 5));
    let mut b = bench.barrier(2, &[1], 1, &put("b", 5));
    for node in [&mut a, &mut b] {
        for datagram in node.say(0) {
            bench.serve(node.address, &datagram);
        }
    }
    assert!(a.say(RETRANSMIT_FIRST_US / 2).is_empty());
    bench.run(&mut [&mut a, &mut b], 3);
    assert!(a.mark().is_some() && a.mark() == b.mark());
}

#[test]
fn a_burst_for_a_released_barrier_is_answered_once() {
    let mut bench = Bench::new(1);
    let up: Vec<u8> = (0..20).flat_map(|i| put(&format!("k{i}"), 1000)).collect();
    let mut node = bench.barrier(1, &[0], 1, &up);
    let first = node.say(0);
    first.iter().for_each(|datagram| drop(bench.serve(node.address, datagram)));
    bench.now = 2 * RETRANSMIT_FIRST_US;
    let again = node.say(bench.now);
    assert!(again.len() > 10);
    let answers: Vec<_> = again.iter().map(|d| bench.serve(node.address, d).len()).collect();
    assert_eq!(answers.iter().filter(|answers| **answers > 0).count(), 1, "{answers:?}");
}

#[test]
fn a_new_delegate_finishes_a_pull_that_another_began() {
    let mut bench = Bench::new(1);
    let before = bench.kept.borrow().len() as u64;
    let up: Vec<u8> = (0..300).flat_map(|i| put(&format!("k{i}"), 1000)).collect();
    assert!(up.len() as u64 > PUSH_MAX);
    let mut node = bench.barrier(1, &[0], 1, &up);
    while node.down.is_empty() {
        bench.run(&mut [&mut node], 1);
    }
    assert!(node.mark().is_none(), "the pull is under way");
    node.take_over(Address(7), bench.now);
    bench.run(&mut [&mut node], 200);
    assert_eq!(node.mark(), Some(bench.kept.borrow().len() as u64));
    assert_eq!(node.log(before), bench.kept.borrow()[before as usize..]);
}

#[test]
fn an_up_log_and_a_pull_far_beyond_a_window_come_through() {
    let mut bench = Bench::new(2);
    let before = bench.kept.borrow().len() as u64;
    let up: Vec<u8> = (0..500).flat_map(|i| put(&format!("k{i}"), 1000)).collect();
    assert!(up.len() as u64 > 5 * WINDOW_MAX);
    let mut a = bench.barrier(1, &[0], 1, &up);
    let mut b = bench.barrier(2, &[1], 1, &[]);
    bench.run(&mut [&mut a, &mut b], 300);
    assert!(a.mark().is_some() && a.mark() == b.mark());
    assert_eq!(b.log(before), bench.kept.borrow()[before as usize..]);
}

#[test]
fn more_scattered_ranks_than_a_datagram_names_arrive_and_leave() {
    let size = 4 * RANGES_MAX as u32;
    let mut bench = Bench::new(size);
    let even: Vec<u32> = (0..size).step_by(2).collect();
    let odd: Vec<u32> = (1..size).step_by(2).collect();
    let mut a = bench.barrier(1, &even, 1, &put("a", 900));
    let mut b = bench.barrier(2, &odd, 1, &put("b", 900));
    bench.run(&mut [&mut a, &mut b], 3);
    assert!(a.mark().is_some() && a.mark() == b.mark());

    let mut a = bench.node(1, &even, Goal::Leave, 1, 0);
    let parts = a.say(bench.now);
    assert_eq!(parts.len(), 2);
    let answers = bench.serve(a.address, &parts[0]);
    a.hear(bench.now, &answers[0].1);
    assert_eq!(a.exchange.outcome(), None, "half of the ranks are still unheard of");
    bench.run(&mut [&mut a], 3);
    let mut b = bench.node(2, &odd, Goal::Leave, 1, 0);
    bench.run(&mut [&mut b], 3);
    assert!(a.exchange.outcome().is_some() && b.exchange.outcome().is_some());
    assert_eq!(bench.events.len(), 1, "{:?}", bench.events);
}

#[test]
fn ranks_that_come_while_the_delegate_waits_join_its_exchange() {
    let mut bench = Bench::new(2);
    let mut node = bench.barrier(1, &[0], 1, &put("a", 5));
    bench.run(&mut [&mut node], 2);
    assert_eq!(node.mark(), None);
    node.start.ranks = pmi_protocol::ranks::RankRanges::from_ranks([0, 1]);
    node.commit(&put("b", 5), bench.now);
    bench.run(&mut [&mut node], 1);
    assert!(node.mark().is_some());
}

#[test]
fn repeated_and_overtaking_arrivals_count_once() {
    let mut bench = Bench::new(2);
    let up: Vec<u8> = (0..5).flat_map(|i| put(&format!("k{i}"), 900)).collect();
    let mut node = bench.barrier(1, &[0], 1, &up);
    let mut burst = node.say(0);
    burst.reverse();
    let twice: Vec<_> = burst.iter().chain(&burst).collect();
    for datagram in twice {
        for (_, answer) in bench.serve(node.address, datagram) {
            assert_eq!(kind(&answer), Kind::Ack as u8);
        }
    }
    assert!(bench.server.counters().repeated >= burst.len() as u64);
    assert_eq!(bench.server.counters().barriers, 0);
}

#[test]
fn a_datagram_of_another_epoch_changes_nothing() {
    let mut bench = Bench::new(1);
    let mut first = bench.barrier(1, &[0], 1, &[]);
    let old = first.say(0);
    first.exchange.handle(0, common::SERVER, &bench.serve(first.address, &old[0])[0].1);
    let second = bench.barrier(1, &[0], 2, &[]);
    for epoch in [0, 1, 3, u32::MAX] {
        let header = pmi_protocol::datagram::Header {
            flags: WANT_ACK,
            ..common::header(Kind::Up, 1, epoch)
        };
        bench.serve(second.address, &common::sealed(&header, &[], b""));
    }
    assert_eq!(bench.server.counters().barriers, 1);
}
