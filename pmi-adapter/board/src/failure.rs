//! Why the job is over: written once, by whoever is first.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use pmi_protocol::limits::{SIZE_MAX, TEXT_MAX};

/// The end of a job: an abort, a dead rank, or a refusal by the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code asked for.
    pub code: i32,
    /// The rank that failed or aborted, where it is known.
    pub rank: Option<u32>,
    /// What happened; at most 512 bytes are kept.
    pub text: String,
}

/// Set in `verdict` when there is one.
const PRESENT: u64 = 1 << 63;

const _: () = assert!((SIZE_MAX as u64 + 1) << 32 < PRESENT, "rank + 1 fits beside the code");

/// A [`Failure`] in shared memory. All zero is none.
#[derive(Debug)]
#[repr(C)]
pub struct FailureCell {
    /// `PRESENT | (rank + 1) << 32 | code`: code and rank cannot be torn apart by the death of the writer.
    verdict: AtomicU64,
    /// Length of the text + 1 once it is complete.
    complete: AtomicU64,
    text: [AtomicU64; TEXT_MAX / 8],
    reserved: [u64; 6],
}

impl Default for FailureCell {
    fn default() -> Self {
        let word = |_| AtomicU64::new(0);
        FailureCell {
            verdict: AtomicU64::new(0),
            complete: AtomicU64::new(0),
            text: std::array::from_fn(word),
            reserved: [0; 6],
        }
    }
}

impl FailureCell {
    /// Records the failure; false if there was one already.
    pub fn record(&self, failure: &Failure) -> bool {
        let rank = failure.rank.map_or(0, |rank| u64::from(rank.min(SIZE_MAX)) + 1);
        let verdict = PRESENT | rank << 32 | u64::from(failure.code as u32);
        if self.verdict.compare_exchange(0, verdict, AcqRel, Acquire).is_err() {
            return false;
        }
        let text = shortened(&failure.text);
        for (word, piece) in self.text.iter().zip(text.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..piece.len()].copy_from_slice(piece);
            word.store(u64::from_le_bytes(bytes), Relaxed);
        }
        self.complete.store(text.len() as u64 + 1, Release);
        true
    }

    /// The failure, if there is one. Its text is empty while the writer has not finished it.
    pub fn read(&self) -> Option<Failure> {
        let verdict = self.verdict.load(Acquire);
        if verdict == 0 {
            return None;
        }
        let rank = (((verdict & !PRESENT) >> 32) as u32).checked_sub(1);
        Some(Failure { code: verdict as u32 as i32, rank, text: self.read_text() })
    }

    fn read_text(&self) -> String {
        let len = self.complete.load(Acquire).saturating_sub(1) as usize;
        let mut bytes: Vec<u8> =
            self.text.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        bytes.truncate(len);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The text's first bytes, cut between characters.
fn shortened(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(TEXT_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_stays() {
        let cell = FailureCell::default();
        assert_eq!(cell.read(), None);
        let first = Failure { code: -3, rank: Some(0), text: "rank 0 called PMI_Abort".into() };
        assert!(cell.record(&first));
        assert!(!cell.record(&Failure { code: 1, rank: None, text: "later".into() }));
        assert_eq!(cell.read(), Some(first));
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_no_rank_is_kept() {
        let cell = FailureCell::default();
        let text = "é".repeat(TEXT_MAX);
        cell.record(&Failure { code: i32::MAX, rank: None, text: format!("x{text}") });
        let read = cell.read().unwrap();
        assert_eq!((read.code, read.rank, read.text.len()), (i32::MAX, None, TEXT_MAX - 1));
    }
}
