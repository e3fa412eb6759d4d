//! How a group ends, who is turned away, and what old or hostile datagrams may not do.

mod common;

use common::{Address, Bench, header, put, sealed};
use pmi_protocol::datagram::{Kind, encode_hello};
use pmi_protocol::exchange::{Goal, Outcome};
use pmi_protocol::limits::{LOG_CEILING_MIN, SILENCE_MAX_US, STALL_US};
use pmi_protocol::ranks::RankRange;
use pmi_protocol::server::Event;
use proptest::prelude::*;

#[test]
fn two_nodes_that_claim_a_rank_end_the_group() {
    let mut bench = Bench::new(2);
    let mut a = bench.joining(1, &[0]);
    let mut b = bench.joining(2, &[0]);
    bench.run(&mut [&mut a], 1);
    bench.run(&mut [&mut b], 2);
    let (code, refused, text) = b.fault().unwrap();
    assert!(code == 1 && !refused && text.contains("two processes claim rank 0"), "{text}");
    assert!(text.contains("host1") && text.contains("host2"), "{text}");
    assert!(matches!(&bench.events[..], [Event::Fault { rank: Some(0), .. }]));
}

#[test]
fn a_node_with_another_size_or_rank_is_turned_away_and_the_others_go_on() {
    let mut bench = Bench::new(2);
    bench.spec.size = 3;
    let mut wrong = bench.joining(9, &[0]);
    bench.spec.size = 2;
    let mut beyond = bench.joining(8, &[2]);
    bench.run(&mut [&mut wrong, &mut beyond], 1);
    assert!(wrong.fault().is_some_and(|(_, refused, text)| refused && text.contains("size is 3")));
    assert!(beyond.fault().is_some_and(|(_, refused, text)| refused && text.contains("rank 2")));
    let mut node = bench.barrier(1, &[0, 1], 1, &[]);
    bench.run(&mut [&mut node], 1);
    assert!(node.mark().is_some());
}

#[test]
fn the_first_node_of_a_group_of_unknown_size_tells_it_and_another_size_is_refused() {
    let mut bench = Bench::expecting(2);
    let mut up = bench.barrier(1, &[0, 1], 1, &[]);
    let early = up.say(0);
    assert!(bench.serve(Address(1), &early[0]).is_empty());
    let mut first = bench.joining(1, &[0, 1]);
    bench.run(&mut [&mut first], 1);
    assert!(first.mark().is_some());
    bench.spec.size = 3;
    let mut wrong = bench.joining(9, &[0]);
    bench.run(&mut [&mut wrong], 9);
    assert!(wrong.fault().is_some_and(|(_, refused, text)| refused && text.contains("size is 3")));
    bench.spec.size = 2;
    bench.restart();
    let mut node = bench.barrier(1, &[0, 1], 1, &[]);
    bench.run(&mut [&mut node], 1);
    assert!(node.mark().is_some());
}

#[test]
fn a_rank_that_fails_before_its_group_is_open_ends_it() {
    let mut bench = Bench::expecting(1);
    assert!(bench.server.fail(0, "job", 0, (7, "died"), &mut Default::default()));
    let mut node = bench.joining(1, &[0]);
    bench.run(&mut [&mut node], 1);
    assert_eq!(node.fault().map(|(code, ..)| code), Some(7));
}

#[test]
fn a_late_node_is_turned_away_but_an_old_hello_of_a_known_one_is_ignored() {
    let mut bench = Bench::new(1);
    let mut node = bench.joining(1, &[0]);
    let hello = node.say(0);
    bench.run(&mut [&mut node], 3);
    let mut node = bench.barrier(1, &[0], 1, &[]);
    bench.run(&mut [&mut node], 1);
    assert!(bench.serve(Address(1), &hello[0]).is_empty());
    assert!(bench.events.is_empty());
    let mut late = bench.joining(2, &[0]);
    bench.run(&mut [&mut late], 1);
    assert!(late.fault().is_some_and(|(_, refused, text)| refused && text.contains("too late")));
}

#[test]
fn a_refusal_of_an_old_hello_does_not_end_a_later_exchange() {
    let mut bench = Bench::new(2);
    let mut a = bench.joining(1, &[0]);
    let hello = a.say(0);
    let mut a = bench.barrier(1, &[0], 1, &[]);
    let mut b = bench.barrier(2, &[1], 1, &[]);
    bench.run(&mut [&mut a, &mut b], 1);
    bench.restart();
    let refusal = bench.serve(Address(1), &hello[0]);
    let mut a = bench.barrier(1, &[0], 2, &[]);
    a.hear(0, &refusal[0].1);
    assert_eq!(a.exchange.outcome(), None);
}

#[test]
fn puts_beyond_the_ceiling_end_the_group_and_name_the_ranks() {
    let mut bench = Bench::with_ceiling(2, LOG_CEILING_MIN);
    let up: Vec<u8> = (0..6).flat_map(|i| put(&format!("k{i}"), 1000)).collect();
    let mut a = bench.barrier(1, &[0], 1, &[]);
    let mut b = bench.barrier(2, &[1], 1, &up);
    bench.run(&mut [&mut a, &mut b], 5);
    for node in [&a, &b] {
        let (_, _, text) = node.fault().unwrap();
        assert!(text.contains("ranks 1 on") && text.contains("4096"), "{text}");
    }
}

#[test]
fn puts_that_exceed_the_ceiling_only_together_are_found_as_well() {
    let mut bench = Bench::with_ceiling(3, LOG_CEILING_MIN);
    let up: Vec<u8> = (0..2).flat_map(|i| put(&format!("k{i}"), 700)).collect();
    let mut nodes: Vec<_> = (0..3).map(|i| bench.barrier(u64::from(i) + 1, &[i], 1, &up)).collect();
    bench.run(&mut nodes.iter_mut().collect::<Vec<_>>(), 5);
    assert!(nodes.iter().all(|node| node.fault().is_some()));
    assert!(bench.kept.borrow().len() as u64 <= LOG_CEILING_MIN);
}

#[test]
fn a_stalled_barrier_names_the_missing_ranks_and_their_hosts() {
    let mut bench = Bench::new(4);
    let mut joining = bench.joining(2, &[2]);
    bench.run(&mut [&mut joining], 1);
    let mut node = bench.barrier(1, &[0], 1, &[]);
    bench.run(&mut [&mut node], 1);
    let due = bench.server.due().unwrap();
    assert_eq!(due, STALL_US);
    bench.tick(due - 1);
    assert!(bench.events.is_empty());
    bench.tick(due);
    let [Event::Stalled { barrier: 1, missing, hosts, .. }] = &bench.events[..] else {
        panic!("{:?}", bench.events)
    };
    assert_eq!((missing.to_string().as_str(), &hosts[..]), ("1-3", &["host2".to_owned()][..]));
    assert!(bench.server.due().unwrap() > due);
}

#[test]
fn a_crash_before_the_mark_asks_the_nodes_again() {
    let mut bench = Bench::new(2);
    let mut a = bench.barrier(1, &[0], 1, &put("a", 5));
    let mut b = bench.barrier(2, &[1], 1, &put("b", 5));
    bench.run(&mut [&mut a], 2);
    bench.restart();
    bench.run(&mut [&mut a, &mut b], 5);
    assert!(a.mark().is_some() && a.mark() == b.mark());
}

#[test]
fn a_crash_after_the_mark_and_before_sending_repeats_nothing() {
    let mut bench = Bench::new(2);
    let mut a = bench.barrier(1, &[0], 1, &put("a", 5));
    let mut b = bench.barrier(2, &[1], 1, &put("b", 5));
    for node in [&mut a, &mut b] {
        node.say(0).iter().for_each(|datagram| drop(bench.serve(node.address, datagram)));
    }
    let log = bench.kept.borrow().clone();
    bench.restart();
    bench.run(&mut [&mut a, &mut b], 5);
    assert!(a.mark().is_some() && a.mark() == b.mark());
    assert_eq!(*bench.kept.borrow(), log);
}

#[test]
fn a_crash_between_a_chunk_and_the_mark_does_not_append_the_chunk_twice() {
    let mut bench = Bench::new(2);
    let (up_a, up_b) = (put("a", 5), put("b", 5));
    let before = bench.kept.borrow().len();
    let mut a = bench.barrier(1, &[0], 1, &up_a);
    let mut b = bench.barrier(2, &[1], 1, &up_b);
    for node in [&mut a, &mut b] {
        node.say(0).iter().for_each(|datagram| drop(bench.serve(node.address, datagram)));
    }
    let whole = bench.kept.borrow().len();
    bench.kept.borrow_mut().truncate(before + 32 + up_a.len());
    bench.restart();
    bench.run(&mut [&mut a, &mut b], 5);
    assert!(a.mark().is_some() && a.mark() == b.mark());
    assert_eq!(bench.kept.borrow().len(), whole);
}

#[test]
fn only_its_own_ack_ends_an_abort() {
    let mut bench = Bench::new(2);
    let mut waiting = bench.barrier(1, &[0], 1, &[]);
    bench.run(&mut [&mut waiting], 2);
    let ack = header(Kind::Ack, 1, 1);
    let late = pmi_protocol::datagram::Header { flags: Kind::Up as u8, incarnation: 1, ..ack };
    let goal = Goal::Abort { code: 9, text: "no use".to_owned(), dead: false };
    let mut abort = bench.node(1, &[0], goal, 1, 0);
    abort.address = Address(5);
    abort.hear(0, &sealed(&late, &[], b""));
    assert_eq!(abort.exchange.outcome(), None);
    bench.run(&mut [&mut abort, &mut waiting], 1);
    assert_eq!(abort.exchange.outcome(), Some(&Outcome::Acknowledged));
    assert!(waiting.fault().is_some_and(|(code, refused, _)| code == 9 && !refused));
    assert!(matches!(&bench.events[..], [Event::Abort { rank: 0, code: 9, .. }]));
}

#[test]
fn a_replay_from_elsewhere_does_not_lead_the_answers_astray() {
    let mut bench = Bench::new(2);
    let mut a = bench.barrier(1, &[0], 1, &[]);
    let mut b = bench.barrier(2, &[1], 1, &[]);
    let old = a.say(0);
    bench.serve(a.address, &old[0]);
    bench.run(&mut [&mut b], 1);
    let mut a = bench.barrier(1, &[0], 2, &[]);
    let mut b = bench.barrier(2, &[1], 2, &[]);
    bench.run(&mut [&mut a], 1);
    bench.serve(Address(666), &old[0]);
    bench.run(&mut [&mut b, &mut a], 1);
    assert!(b.mark().is_some());
    let mut again = bench.barrier(1, &[0], 2, &[]);
    let answer = bench.serve(Address(2), &again.say(bench.now)[0]);
    again.exchange.handle(bench.now, Address(666), &answer[0].1);
    assert_eq!(again.exchange.servers(), [common::SERVER]);
}

#[test]
fn a_delegate_that_was_stopped_hears_of_more_than_it_knew() {
    let mut bench = Bench::new(3);
    let mut old = bench.barrier(1, &[0], 1, &put("a", 5));
    let mut new = bench.barrier(1, &[0, 1], 1, &put("a", 5));
    new.address = Address(7);
    new.commit(&put("b", 50), 0);
    bench.run(&mut [&mut new], 2);
    bench.run(&mut [&mut old], 4);
    assert_eq!(old.exchange.outcome(), None);
}

#[test]
fn silence_ends_an_exchange_but_being_stopped_does_not() {
    let bench = Bench::new(2);
    let mut node = bench.barrier(1, &[0], 1, &[]);
    let mut now = 0;
    assert!(!node.say(now).is_empty());
    now += 100 * SILENCE_MAX_US;
    assert!(!node.say(now).is_empty(), "a process that was stopped asks first");
    let end = now + 2 * SILENCE_MAX_US;
    while node.exchange.outcome().is_none() && now < end {
        now = node.exchange.due();
        node.say(now);
    }
    assert_eq!(node.exchange.outcome(), Some(&Outcome::Silent));
}

fn any_up() -> impl Strategy<Value = Vec<u8>> {
    let number = || prop_oneof![0..300u64, Just(u64::MAX), any::<u64>()];
    let kinds = [Kind::Hello, Kind::Up, Kind::Pull, Kind::Leave, Kind::Abort];
    let kind = proptest::sample::select(kinds.to_vec());
    let ranges = proptest::collection::vec((0..6u32, 0..6u32), 0..4);
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        Just(encode_hello(4, "host")),
        Just(put("k", 3)),
    ];
    let epoch = prop_oneof![0..3u32, Just(u32::MAX)];
    (kind, any::<u8>(), 1..4u64, number(), number(), epoch, ranges, bytes).prop_map(
        |(kind, flags, node, offset, mark, epoch, ranges, bytes)| {
            let header =
                pmi_protocol::datagram::Header { flags, offset, mark, ..header(kind, node, epoch) };
            let range = |(a, b): &(u32, u32)| RankRange { first: *a.min(b), last: *a.max(b) };
            sealed(&header, &ranges.iter().map(range).collect::<Vec<_>>(), &bytes)
        },
    )
}

fn any_down() -> impl Strategy<Value = Vec<u8>> {
    let number = || prop_oneof![0..300u64, Just(u64::MAX), any::<u64>()];
    let kinds = [Kind::Ack, Kind::Release, Kind::Data, Kind::Fault];
    let kind = proptest::sample::select(kinds.to_vec());
    let bytes = proptest::collection::vec(any::<u8>(), 0..80);
    let epoch = prop_oneof![4 => Just(1u32), 1 => any::<u32>()];
    (kind, any::<u8>(), number(), number(), epoch, 0..3u32, bytes).prop_map(
        |(kind, flags, offset, mark, epoch, incarnation, bytes)| {
            let header = pmi_protocol::datagram::Header {
                flags,
                offset,
                mark,
                incarnation,
                ..header(kind, 1, epoch)
            };
            sealed(&header, &[], &bytes)
        },
    )
}

proptest! {
    #[test]
    fn the_server_survives_whatever_a_node_with_the_key_says(
        datagrams in proptest::collection::vec(any_up(), 1..40),
    ) {
        let mut bench = Bench::new(4);
        for datagram in datagrams {
            bench.now += 1000;
            bench.serve(Address(1), &datagram);
            prop_assert!(bench.kept.borrow().len() < 100_000);
        }
        bench.restart();
    }

    #[test]
    fn an_exchange_survives_whatever_a_server_with_the_key_says(
        datagrams in proptest::collection::vec(any_down(), 1..40),
    ) {
        let bench = Bench::new(4);
        let mut node = bench.barrier(1, &[0], 1, &put("k", 200));
        for (at, datagram) in (0..).zip(datagrams) {
            node.say(at * 30_000);
            node.exchange.handle(at * 30_000 + 1, common::SERVER, &datagram);
        }
    }
}
