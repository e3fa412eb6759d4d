//! Real MPI libraries, recorded under a plain simple server: the engine reads what they sent, and gives the answers
//! that they got there, byte for byte.

use crate::plain::Plain;
use crate::recording::{Recording, Sender, recordings};

fn replay(recording: &Recording) {
    let size = recording.says("size").parse().expect("a number");
    let mut server = Plain::new(size, recording.says("mapping"));
    for (number, step) in recording.steps().iter().enumerate() {
        match step.sender {
            Sender::Client => server.take(step.rank, &step.bytes),
            Sender::Server => {
                let answers = server.answers.entry(step.rank).or_default();
                let length = step.bytes.len().min(answers.len());
                let ours: Vec<u8> = answers.drain(..length).collect();
                let (ours, theirs) = (ours.escape_ascii(), step.bytes.escape_ascii());
                let place = format!("{} step {number}", recording.name);
                assert_eq!(ours.to_string(), theirs.to_string(), "{place}");
            }
        }
    }
    let left = server.answers.values().flatten().count();
    assert_eq!(left, 0, "{}: answers that nobody got", recording.name);
}

#[test]
fn get_the_answers_that_they_are_used_to() {
    let recordings = recordings("clients");
    assert_eq!(recordings.len(), 10);
    recordings.iter().for_each(replay);
}
