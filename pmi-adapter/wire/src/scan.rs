//! Looking for bytes and numbers.

const LOW: u64 = u64::from_le_bytes([0x01; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// Where the first `wanted` stands. Eight bytes at a time: values of a kilobyte are the rule, and there is one of
/// these searches in every request.
pub(crate) fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    let pattern = u64::from_le_bytes([wanted; 8]);
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let differing = u64::from_le_bytes(*word) ^ pattern;
        let zeros = differing.wrapping_sub(LOW) & !differing & HIGH;
        if zeros != 0 {
            return Some(index * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    tail.iter().position(|byte| *byte == wanted).map(|at| words.len() * 8 + at)
}

/// A decimal number that fills `bytes`.
pub(crate) fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// A truth value: clients write TRUE and FALSE.
pub(crate) fn truth(bytes: &[u8]) -> Option<bool> {
    match bytes {
        _ if bytes.eq_ignore_ascii_case(b"true") => Some(true),
        _ if bytes.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_gives_the_first_position() {
        for length in 0..40 {
            for at in 0..length {
                let mut bytes = vec![b'x'; length];
                bytes[at..].fill(b'\n');
                assert_eq!(find(&bytes, b'\n'), Some(at), "{length} bytes");
            }
        }
    }

    #[test]
    fn find_is_not_fooled_by_neighbouring_values() {
        let all: Vec<u8> = (0..=255).collect();
        for wanted in 0..=255 {
            assert_eq!(find(&all, wanted), Some(usize::from(wanted)));
            assert_eq!(find(&[wanted ^ 0x80; 19], wanted), None);
            assert_eq!(find(&[wanted ^ 0x01; 19], wanted), None);
        }
    }

    #[test]
    fn numbers_fill_their_field() {
        assert_eq!(number(b"-12"), Some(-12));
        for bad in [&b""[..], b" 1", b"1 ", b"0x1", b"99999999999999999999", b"\xff"] {
            assert_eq!(number(bad), None, "{}", bad.escape_ascii());
        }
    }
}
