//! On which UDP ports a step's server may be: a short list that every process of the step derives alike.

use std::ops::RangeInclusive;

use crate::step::StepKey;

/// Ports that are tried: so many servers of steps that share a node, and strangers, would have to hold all of them.
pub const CANDIDATES: usize = 16;

/// Below the ports that Linux gives away by itself (32,768 to 60,999, ip(7)), above those of well-known services. Slurm's
/// own daemons (6,817 to 6,819) and what sites commonly give to `SrunPortRange` (60,001 and up) are outside.
pub const DEFAULT: RangeInclusive<u16> = 16_384..=32_767;

/// The candidates, all different, best first. A range of fewer ports gives fewer.
pub fn candidates(key: &StepKey, range: &RangeInclusive<u16>) -> Vec<u16> {
    let span = u32::from(range.end() - range.start()) + 1;
    let mut random = key.derive("ports");
    let mut next = || {
        let mut bytes = [0; 4];
        random.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    };
    if span <= CANDIDATES as u32 {
        let first = next() % span;
        return (0..span).map(|at| range.start() + ((first + at) % span) as u16).collect();
    }
    let mut ports = Vec::with_capacity(CANDIDATES);
    while ports.len() < CANDIDATES {
        let port = range.start() + (next() % span) as u16;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_steps_share_few_ports() {
        let of = |byte| candidates(&StepKey([byte; 32]), &DEFAULT);
        assert_eq!(of(1), of(1));
        let shared = of(1).iter().filter(|port| of(2).contains(port)).count();
        assert!(shared < 3, "{shared}");
    }

    proptest! {
        #[test]
        fn they_are_distinct_and_inside_the_range(key: [u8; 32], low in 1u16.., width in 0u16..200) {
            let range = low..=low.saturating_add(width);
            let ports = candidates(&StepKey(key), &range);
            let span = usize::from(range.end() - range.start()) + 1;
            prop_assert_eq!(ports.len(), CANDIDATES.min(span));
            prop_assert!(ports.iter().all(|port| range.contains(port)));
            let mut sorted = ports.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), ports.len());
        }
    }
}
