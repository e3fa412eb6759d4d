//! The bodies of the fuzz targets, on inputs made from a seed: recorded exchanges with damage done to them.

#[path = "../../fuzz/client_body.rs"]
mod client_body;
#[path = "../../fuzz/server_body.rs"]
mod server_body;

use std::panic::catch_unwind;

use crate::recording::{Sender, Step, recordings};

const INPUTS: u64 = 4000;

/// All that one side said in each recording.
fn said(sender: Sender) -> Vec<Vec<u8>> {
    let all = recordings("clients").into_iter().chain(recordings("servers"));
    let of = |steps: Vec<Step>| {
        let theirs = steps.into_iter().filter(|step| step.sender == sender);
        theirs.map(|step| step.bytes).collect::<Vec<_>>()
    };
    all.map(|recording| of(recording.steps()).concat()).collect()
}

/// SplitMix64: the same numbers for the same seed everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A piece of `original`, more often than not from its start, with some damage done to it.
    fn damage(&mut self, original: &[u8]) -> Vec<u8> {
        let start = if self.below(4) == 0 { self.below(original.len()) } else { 0 };
        let length = self.below(4000).min(original.len() - start);
        let mut input = vec![self.next() as u8];
        input.extend_from_slice(&original[start..start + length]);
        for _ in 0..self.below(8) {
            self.wound(&mut input);
        }
        input
    }

    fn wound(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len());
        let sharp = b"\n\0 ;;==0129cm\\\xff";
        match self.below(4) {
            0 => input[at] = self.next() as u8,
            1 => input[at] = sharp[self.below(sharp.len())],
            2 => input.insert(at, sharp[self.below(sharp.len())]),
            _ => drop(input.drain(at..at + self.below(20).min(input.len() - at - 1))),
        }
    }
}

fn run(body: fn(&[u8]), sender: Sender) {
    let originals = said(sender);
    for seed in 0..INPUTS {
        let mut dice = Dice(seed);
        let original = &originals[dice.below(originals.len())];
        let input = dice.damage(original);
        if catch_unwind(|| body(&input)).is_err() {
            panic!("seed {seed}: {}", input.escape_ascii());
        }
    }
}

#[test]
fn the_server_survives_damaged_clients() {
    run(server_body::run, Sender::Client);
}

#[test]
fn the_client_survives_damaged_servers() {
    run(client_body::run, Sender::Server);
}
