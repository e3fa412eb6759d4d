//! One process's view of the logs: replacement, iteration, growth of the index, wrap and overflow of the ring.

mod common;

use std::collections::BTreeMap;

use common::{alone, publish, put, record, value};
use pmi_board::{Board, Slot, UpLogFull};
use pmi_protocol::limits::{LOG_CEILING_MIN, RECORD_MAX, VALUE_MAX};
use pmi_protocol::log::epoch_of_one_node;
use pmi_protocol::record::RecordKind;
use proptest::prelude::*;

fn all(board: &Board, space: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = 0;
    std::iter::from_fn(|| {
        let read = |record: &pmi_protocol::record::Record<'_>| {
            (record.key.to_vec(), record.value.to_vec())
        };
        let (next, pair) = board.next_record(space, cursor, read)?;
        cursor = next;
        Some(pair)
    })
    .collect()
}

#[test]
fn nothing_is_visible_before_its_epoch_opens() {
    let (board, slot) = alone(1 << 20);
    assert_eq!(value(&board, 0, b"key"), None);
    board.commit(&slot, &put(0, b"key", b"value")).unwrap();
    assert_eq!(value(&board, 0, b"key"), None);
    publish(&board, &slot);
    assert_eq!(value(&board, 0, b"key"), Some(b"value".to_vec()));
    assert_eq!(value(&board, 1, b"key"), None, "another space");
    assert_eq!(board.opened(), 1);
}

#[test]
fn a_later_put_replaces_and_is_iterated_once() {
    let (board, slot) = alone(1 << 20);
    board.commit(&slot, &put(0, b"a", b"1")).unwrap();
    board.commit(&slot, &put(0, b"b", b"1")).unwrap();
    publish(&board, &slot);
    board.commit(&slot, &put(0, b"a", b"2")).unwrap();
    board.commit(&slot, &put(0, b"a", b"")).unwrap();
    assert_eq!(value(&board, 0, b"a"), Some(b"1".to_vec()));
    publish(&board, &slot);
    assert_eq!(value(&board, 0, b"a"), Some(Vec::new()), "an empty value is a value");
    let pairs = all(&board, 0);
    assert_eq!(pairs, [(b"b".to_vec(), b"1".to_vec()), (b"a".to_vec(), Vec::new())]);
}

#[test]
fn spaces_are_apart_and_their_state_stands_under_the_empty_key() {
    let (board, slot) = alone(1 << 20);
    let space = pmi_protocol::record::space_number(0, 3);
    board.commit(&slot, &record(RecordKind::Create, space, b"", b"")).unwrap();
    board.commit(&slot, &put(space, b"k", b"there")).unwrap();
    board.commit(&slot, &put(0, b"k", b"here")).unwrap();
    publish(&board, &slot);
    let state = |board: &Board| board.lookup(space, b"", |record| record.kind);
    assert_eq!(state(&board), Some(RecordKind::Create));
    assert_eq!(all(&board, space), [(b"k".to_vec(), b"there".to_vec())]);
    assert_eq!(all(&board, 0), [(b"k".to_vec(), b"here".to_vec())]);
    board.commit(&slot, &record(RecordKind::Destroy, space, b"", b"")).unwrap();
    publish(&board, &slot);
    assert_eq!(state(&board), Some(RecordKind::Destroy));
}

#[test]
fn the_servers_own_records_are_stepped_over() {
    let (board, slot) = alone(1 << 20);
    let mut log = record(RecordKind::Group, 0, b"job", &[0; 12]);
    log.extend(record(RecordKind::Chunk, 99, b"", &[0; 16]));
    log.extend(put(0, b"k", b"v"));
    log.extend(record(RecordKind::Mark, 0, b"", b""));
    let mut delegate = board.try_lead(&slot).unwrap();
    delegate.down_write(0, &log).unwrap();
    delegate.open_epoch(0, log.len() as u64).unwrap();
    assert_eq!(all(&board, 0), [(b"k".to_vec(), b"v".to_vec())]);
    assert_eq!(value(&board, 0, b"job"), None);
    assert_eq!(value(&board, 99, b""), None);
}

#[test]
fn writing_the_down_log_again_changes_nothing() {
    let (board, slot) = alone(1 << 20);
    let log = [put(0, b"a", b"1"), put(0, b"b", b"2")].concat();
    let first = put(0, b"a", b"1").len() as u64;
    let mut delegate = board.try_lead(&slot).unwrap();
    delegate.down_write(first, &log[first as usize..]).unwrap();
    delegate.down_write(0, &log[..first as usize + 3]).unwrap();
    delegate.open_epoch(0, first).unwrap();
    assert_eq!(all(&board, 0).len(), 1);
    let mut delegate = board.try_lead(&slot).unwrap();
    delegate.down_write(0, &vec![0xff; first as usize]).unwrap();
    delegate.down_write(0, &log).unwrap();
    delegate.open_epoch(1, log.len() as u64).unwrap();
    let mut delegate = board.try_lead(&slot).unwrap();
    delegate.down_write(0, &log).unwrap();
    delegate.open_epoch(0, first).unwrap();
    assert_eq!((board.visible(), board.opened()), (log.len() as u64, 2), "neither goes back");
    assert_eq!(all(&board, 0).len(), 2);
}

#[test]
fn a_log_beyond_the_ceiling_or_of_broken_records_is_refused() {
    let (board, slot) = alone(LOG_CEILING_MIN);
    let mut delegate = board.try_lead(&slot).unwrap();
    let refused = delegate.down_write(LOG_CEILING_MIN - 1, b"xy").unwrap_err();
    assert_eq!((refused.end, refused.ceiling), (LOG_CEILING_MIN + 1, LOG_CEILING_MIN));
    assert!(delegate.down_write(u64::MAX, b"xy").is_err());
    delegate.down_write(0, &put(0, b"k", b"v")).unwrap();
    let end = put(0, b"k", b"v").len() as u64;
    assert_eq!(delegate.open_epoch(0, end + 1).unwrap_err().offset, end);
    assert_eq!((board.visible(), board.opened()), (0, 0));
    let delegate = board.try_lead(&slot).expect("the lead was given up");
    assert!(delegate.open_epoch(0, u64::MAX).is_err());
}

#[test]
fn a_hundred_thousand_keys_are_found_while_the_index_grows() {
    const KEYS: u32 = 100_000;
    let (board, slot) = alone(16 << 20);
    let key = |number: u32| format!("key-{number}").into_bytes();
    for batch in 0..10 {
        for number in batch * KEYS / 10..(batch + 1) * KEYS / 10 {
            board.commit(&slot, &put(0, &key(number), &number.to_le_bytes())).unwrap();
        }
        publish(&board, &slot);
    }
    for number in 0..KEYS {
        assert_eq!(value(&board, 0, &key(number)), Some(number.to_le_bytes().to_vec()));
    }
    assert_eq!(value(&board, 0, &key(KEYS)), None);
    assert_eq!(all(&board, 0).len(), KEYS as usize);
}

#[test]
fn a_log_of_the_smallest_records_fills_the_largest_table() {
    let (board, slot) = alone(64 << 10);
    let records = (0..(64 << 10) / 16).map(|space| record(RecordKind::Create, space, b"", b""));
    let log = records.collect::<Vec<_>>().concat();
    let mut delegate = board.try_lead(&slot).unwrap();
    delegate.down_write(0, &log).unwrap();
    delegate.open_epoch(0, log.len() as u64).unwrap();
    assert!((0..4096).all(|space| value(&board, space, b"") == Some(Vec::new())));
    assert_eq!(value(&board, 4096, b""), None);
}

/// Commits one record of the largest size.
fn commit_large(board: &Board, slot: &Slot, number: u64) -> Result<(), UpLogFull> {
    let mut large = vec![number as u8; VALUE_MAX];
    large[..8].copy_from_slice(&number.to_le_bytes());
    board.commit(slot, &put(0, &[b'k'; RECORD_MAX - 16 - VALUE_MAX], &large))
}

#[test]
fn the_ring_is_full_at_its_capacity_and_wraps_without_mixing_up_bytes() {
    let (board, slot) = alone(1 << 20);
    let mut committed = 0;
    let full = loop {
        match commit_large(&board, &slot, committed) {
            Ok(()) => committed += 1,
            Err(full) => break full,
        }
    };
    assert_eq!(full.wanted, RECORD_MAX as u64);
    assert_eq!(committed, (64 << 20) / RECORD_MAX as u64);
    assert_eq!(full.room, (64 << 20) % RECORD_MAX as u64);

    let mut read = 0;
    for _lap in 0..3 {
        while read < committed {
            check_large(&board, &slot, read);
            read += 1;
        }
        while commit_large(&board, &slot, committed).is_ok() {
            committed += 1;
        }
    }
    assert!(committed > 2 * (64 << 20) / RECORD_MAX as u64, "it wrapped twice");
}

/// Reads one large record from the up-log and gives it up.
fn check_large(board: &Board, slot: &Slot, number: u64) {
    let mut delegate = board.try_lead(slot).unwrap();
    let (offset, mut bytes) = (number * RECORD_MAX as u64, Vec::new());
    delegate.up_read(offset, RECORD_MAX, &mut bytes);
    let record = pmi_protocol::record::Record::parse(&bytes).unwrap();
    assert_eq!(record.value[..8], number.to_le_bytes());
    assert!(record.value[8..].iter().all(|byte| *byte == number as u8));
    delegate.up_release(offset + RECORD_MAX as u64);
    bytes.clear();
    delegate.up_read(offset, 1, &mut bytes);
    assert!(bytes.is_empty(), "what is released cannot be read");
    delegate.step_down();
}

#[test]
fn an_oversized_commit_leaves_nothing_behind() {
    let (board, slot) = alone(1 << 20);
    assert!(board.commit(&slot, &vec![0; (64 << 20) + 1]).is_err());
    assert_eq!(board.up_end(), 0);
}

/// Epochs of puts: space, key, value, out of so few that keys repeat.
fn epochs() -> impl Strategy<Value = Vec<Vec<(u64, u8, Vec<u8>)>>> {
    let one = (0..3u64, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40));
    proptest::collection::vec(proptest::collection::vec(one, 0..300), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_puts_leave_what_a_map_would_hold(epochs in epochs()) {
        let (board, slot) = alone(1 << 20);
        let mut model = BTreeMap::new();
        for puts in epochs {
            for (space, key, value) in puts {
                board.commit(&slot, &put(space, &[b'k', key], &value)).unwrap();
                model.insert((space, vec![b'k', key]), value);
            }
            publish(&board, &slot);
            let found: BTreeMap<_, _> = (0..3)
                .flat_map(|space| all(&board, space).into_iter().map(move |pair| (space, pair)))
                .map(|(space, (key, value))| ((space, key), value))
                .collect();
            prop_assert_eq!(&found, &model);
            for ((space, key), held) in &model {
                prop_assert_eq!(&value(&board, *space, key), &Some(held.clone()));
            }
        }
    }
}

/// The server opens an epoch on the word of one delegate; another, who has sent more, must not give up what is not in it.
#[test]
fn the_up_log_is_released_as_far_as_the_log_says() {
    let (board, slot) = alone(1 << 20);
    let (early, late) = (put(0, b"early", b"1"), put(0, b"late", b"2"));
    board.commit(&slot, &early).unwrap();
    board.commit(&slot, &late).unwrap();
    let mut first = epoch_of_one_node(board.node_id(), 0, &early, 1);
    first.extend(epoch_of_one_node(board.node_id() ^ 1, 0, &late, 1));
    let mut delegate = board.try_lead(&slot).unwrap();
    delegate.down_write(0, &first).unwrap();
    delegate.open_epoch(0, first.len() as u64).unwrap();
    assert_eq!(
        board.up_base(),
        early.len() as u64,
        "another node's chunk says nothing of this one"
    );
    let mut rest = Vec::new();
    let delegate = board.try_lead(&slot).unwrap();
    delegate.up_read(board.up_base(), late.len() + 100, &mut rest);
    assert_eq!(rest, late);
}
