//! How a run is shown when it is traced.

use crate::script::Op;
use crate::wire::Letter;
use pmi_protocol::limits::HEADER_LEN;

/// One line for a datagram that comes in.
pub fn letter(letter: &Letter) -> String {
    let bytes = &letter.bytes;
    let number = |at: usize, len: usize| {
        let field = bytes.get(at..at + len)?;
        Some(field.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    let kind = match bytes.get(4) {
        Some(1) => "Hello",
        Some(2) => "Up",
        Some(3) => "Pull",
        Some(4) => "Leave",
        Some(5) => "Abort",
        Some(16) => "Ack",
        Some(17) => "Release",
        Some(18) => "Data",
        Some(19) => "Fault",
        _ => "nonsense",
    };
    let field = |at, len| number(at, len).map_or("?".to_owned(), |number| number.to_string());
    format!(
        "{:?} -> {:?}: {kind} flags {} ranges {} node {} offset {} mark {} epoch {} incarnation {} body {}{}",
        letter.from.place,
        letter.to.place,
        field(5, 1),
        field(6, 2),
        number(16, 8).map_or("?".to_owned(), |node| format!("{node:016x}")),
        field(24, 8),
        field(32, 8),
        field(40, 4),
        field(44, 4),
        bytes.len().saturating_sub(HEADER_LEN),
        if letter.forged { " (forged)" } else { "" },
    )
}

/// A few words for a step of a script.
pub fn op(op: &Op) -> String {
    match op {
        Op::Put((space, key), value) => {
            let key = String::from_utf8_lossy(key);
            format!("put {key:?} of space {space:#x}, {} bytes", value.len())
        }
        op => format!("{op:?}"),
    }
}
