//! Slurm's lists of host names: `login,node[1-4,07-12]x,rack[0-1]n[0-3]`.
//!
//! Names stand between commas; in each, brackets hold numbers and ranges, and several brackets mean all combinations, the
//! last one running fastest. A number is as wide as the low end of its range is written (`scontrol show hostnames`).

use std::fmt;

/// Most digits of a number in brackets: it fits 64 bits.
const DIGITS_MAX: usize = 18;

/// What is wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A bracket is missing, or stands where none may.
    Brackets,
    /// What stands in brackets is neither a number nor a range of numbers, low end first.
    Range(String),
    /// A name is empty.
    Empty,
    /// There are more names than the caller wants.
    TooMany(usize),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Brackets => f.write_str("its brackets do not match"),
            Malformed::Range(text) => write!(f, "'{text}' is not a number or a range LOW-HIGH"),
            Malformed::Empty => f.write_str("a name is empty"),
            Malformed::TooMany(max) => write!(f, "it has more than {max} names"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The first name of a list.
pub fn first(list: &str) -> Result<String, Malformed> {
    let item = split(list)?.first().copied().ok_or(Malformed::Empty)?;
    Ok(parse(item)?.iter().map(|part| part.name(0)).collect())
}

/// All names of a list, in order, if they are at most `max`.
pub fn expand(list: &str, max: usize) -> Result<Vec<String>, Malformed> {
    let mut names = Vec::new();
    for item in split(list)? {
        let parts = parse(item)?;
        let count = parts.iter().try_fold(1u64, |product, part| product.checked_mul(part.count()));
        let room = (max - names.len()) as u64;
        let count = count.filter(|count| *count <= room).ok_or(Malformed::TooMany(max))?;
        names.extend((0..count).map(|number| nth(&parts, number)));
    }
    Ok(names)
}

/// The name with this number among the combinations of an item.
fn nth(parts: &[Part<'_>], mut number: u64) -> String {
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts.iter().rev() {
        pieces.push(part.name(number % part.count()));
        number /= part.count();
    }
    pieces.into_iter().rev().collect()
}

/// A piece of a name.
enum Part<'a> {
    Text(&'a str),
    Ranges(Vec<Range>),
}

/// Numbers from `low` to `high`, with leading zeros up to `width` digits.
struct Range {
    low: u64,
    high: u64,
    width: usize,
}

impl Range {
    fn count(&self) -> u64 {
        self.high - self.low + 1
    }
}

impl Part<'_> {
    /// How many texts it stands for, at least 1. Ranges have at most 10^18 numbers each; so many that their sum does not
    /// fit are too many for anybody.
    fn count(&self) -> u64 {
        match self {
            Part::Text(_) => 1,
            Part::Ranges(ranges) => ranges.iter().map(Range::count).fold(0, u64::saturating_add),
        }
    }

    fn name(&self, mut number: u64) -> String {
        let ranges = match self {
            Part::Text(text) => return (*text).to_owned(),
            Part::Ranges(ranges) => ranges,
        };
        for Range { low, high, width } in ranges {
            if number <= high - low {
                return format!("{:0width$}", low + number);
            }
            number -= high - low + 1;
        }
        String::new()
    }
}

/// The items between those commas that stand outside of brackets.
fn split(list: &str) -> Result<Vec<&str>, Malformed> {
    let (mut items, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, byte) in list.bytes().enumerate() {
        match (byte, inside) {
            (b'[', false) => inside = true,
            (b']', true) => inside = false,
            (b'[', true) | (b']', false) => return Err(Malformed::Brackets),
            (b',', false) => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[start..]);
    match inside {
        true => Err(Malformed::Brackets),
        false if items.iter().any(|item| item.is_empty()) => Err(Malformed::Empty),
        false => Ok(items),
    }
}

/// An item whose brackets match.
fn parse(item: &str) -> Result<Vec<Part<'_>>, Malformed> {
    let mut parts = Vec::new();
    let mut rest = item;
    while let Some((text, after)) = rest.split_once('[') {
        let (inside, after) = after.split_once(']').ok_or(Malformed::Brackets)?;
        parts.push(Part::Text(text));
        parts.push(Part::Ranges(inside.split(',').map(range).collect::<Result<_, _>>()?));
        rest = after;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

fn range(text: &str) -> Result<Range, Malformed> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number = |digits: &str| {
        let plain = digits.len() <= DIGITS_MAX && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| plain)
    };
    match (number(low), number(high)) {
        (Some(from), Some(to)) if from <= to => Ok(Range { low: from, high: to, width: low.len() }),
        _ => Err(Malformed::Range(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1000;

    #[test]
    fn lists_as_slurm_writes_them() {
        for (list, names) in [
            ("node1", "node1"),
            ("node1,login", "node1 login"),
            ("node[1-3,7]", "node1 node2 node3 node7"),
            ("n[01-03]x", "n01x n02x n03x"),
            ("n[8-11]", "n8 n9 n10 n11"),
            ("n[08-11]", "n08 n09 n10 n11"),
            ("r[0-1]n[1-2]", "r0n1 r0n2 r1n1 r1n2"),
            ("a[1-2],b,c[3]-ib", "a1 a2 b c3-ib"),
            ("node-3.cluster.example", "node-3.cluster.example"),
            ("[5-6]", "5 6"),
        ] {
            let expected: Vec<_> = names.split(' ').collect();
            assert_eq!(expand(list, MAX).unwrap(), expected, "{list}");
            assert_eq!(first(list).unwrap(), expected[0], "{list}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for list in
            ["", ",", "a,", "a,,b", "a[", "a]", "a[1", "a[[1]]", "a[]", "a[1-]", "a[2-1]", "a[x]"]
        {
            assert!(first(list).is_err() || expand(list, MAX).is_err(), "{list}");
        }
        assert_eq!(expand("a[000x233]", MAX), Err(Malformed::Range("000x233".into())));
        assert!(first("a[1111111111111111111]").is_err());
    }

    #[test]
    fn a_list_that_is_too_long_takes_no_memory() {
        let vast = "a[0-999999999999999999]";
        assert_eq!(expand(vast, MAX), Err(Malformed::TooMany(MAX)));
        assert_eq!(
            expand(&format!("{vast}b[0-999999999999999999]"), 9),
            Err(Malformed::TooMany(9))
        );
        assert_eq!(first(vast).unwrap(), "a000000000000000000".replace("000000000000000000", "0"));
        assert_eq!(expand("a[1-3]", 3).unwrap().len(), 3);
        assert!(expand("a[1-3],b", 3).is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(list in "[a-c0-3,\\[\\]-]{0,24}") {
            if let Ok(names) = expand(&list, MAX) {
                prop_assert_eq!(first(&list).unwrap(), names[0].clone());
            }
        }

        #[test]
        fn a_range_has_all_of_its_numbers(low in 0u64..500, count in 1u64..100, prefix in "[a-z]{0,5}") {
            let names = expand(&format!("{prefix}[{low:03}-{}]", low + count - 1), MAX).unwrap();
            let expected: Vec<_> = (low..low + count).map(|n| format!("{prefix}{n:03}")).collect();
            prop_assert_eq!(names, expected);
        }
    }
}
