//! What the tests share: configurations, records, and a server that lives in the delegate.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod crew;

use pmi_board::{Board, BoardConfig, Delegate, Slot};
use pmi_protocol::record::{Record, RecordKind};

pub const SECRET: [u8; 32] = [7; 32];

/// A job name that no other test run uses at the same time.
pub fn job_name(test: &str) -> String {
    format!("board-test-{test}-{}", std::process::id())
}

pub fn config(job: &str, size: u32) -> BoardConfig<'_> {
    let local_size = Some(size);
    BoardConfig {
        secret: &SECRET,
        job,
        node: None,
        size,
        local_size,
        log_ceiling: 64 << 20,
        share: true,
    }
}

/// A private board with one rank, which is the delegate whenever it likes.
pub fn alone(log_ceiling: u64) -> (Board, Slot) {
    let config = BoardConfig { share: false, log_ceiling, ..config("alone", 1) };
    let board = Board::open(&config).unwrap();
    let slot = board.claim(0).unwrap();
    (board, slot)
}

pub fn put(space: u64, key: &[u8], value: &[u8]) -> Vec<u8> {
    record(RecordKind::Put, space, key, value)
}

pub fn record(kind: RecordKind, space: u64, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Record { kind, space, key, value }.append_to(&mut bytes);
    bytes
}

/// What a server would do with the up-log's bytes below `end`: appends them to the down-log. Returns the mark.
pub fn serve(board: &Board, delegate: &mut Delegate<'_>, end: u64) -> u64 {
    let (base, visible) = (board.up_base(), board.visible());
    let mut bytes = Vec::new();
    delegate.up_read(base, (end - base) as usize, &mut bytes);
    assert_eq!(bytes.len() as u64, end - base);
    delegate.down_write(visible, &bytes).unwrap();
    delegate.up_release(end);
    visible + end - base
}

/// Makes all that is committed visible, on a board that nobody else uses.
pub fn publish(board: &Board, slot: &Slot) {
    let mut delegate = board.try_lead(slot).unwrap();
    let mark = serve(board, &mut delegate, board.up_end());
    delegate.open_epoch(board.opened(), mark).unwrap();
}

pub fn value(board: &Board, space: u64, key: &[u8]) -> Option<Vec<u8>> {
    board.lookup(space, key, |record| record.value.to_vec())
}
