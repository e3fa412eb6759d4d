//! `PMI_process_mapping`: which rank runs on which node, as MPICH's process managers write it.
//!
//! `(vector,(first,nodes,ppn),…)`: each block places `ppn` consecutive ranks on each of `nodes` nodes, from
//! node `first` on; the whole vector repeats until all ranks are placed.

use std::fmt::Write;

/// The key under which launchers provide the mapping from the start.
pub const PROCESS_MAPPING_KEY: &str = "PMI_process_mapping";

/// Writes the mapping of ranks whose nodes are `nodes[rank]`. An empty list has the empty mapping.
pub fn format_mapping(nodes: &[u32]) -> String {
    let mut text = String::from("(vector");
    let mut blocks = blocks(nodes).into_iter().peekable();
    while let Some((first, per_node)) = blocks.next() {
        let mut count = 1;
        while blocks.next_if_eq(&(first + count, per_node)).is_some() {
            count += 1;
        }
        write!(text, ",({first},{count},{per_node})").expect("writing to a String succeeds");
    }
    text + ")"
}

/// Runs of equal nodes: (node, length).
fn blocks(nodes: &[u32]) -> Vec<(u32, u32)> {
    nodes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect()
}

/// The node of each of `size` ranks, or `None` if the text is not a mapping.
pub fn parse_mapping(text: &str, size: u32) -> Option<Vec<u32>> {
    let inner = text.strip_prefix("(vector,(")?.strip_suffix("))")?;
    let blocks = inner.split("),(").map(parse_block).collect::<Option<Vec<_>>>()?;
    let ranks = blocks.iter().flat_map(|&(first, nodes, per_node)| {
        (first..first.saturating_add(nodes))
            .flat_map(move |node| std::iter::repeat_n(node, per_node as usize))
    });
    Some(ranks.cycle().take(size as usize).collect())
}

fn parse_block(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split(',').map(|number| number.trim().parse::<u32>().ok());
    let block = (numbers.next()??, numbers.next()??, numbers.next()??);
    (numbers.next().is_none() && block.1 > 0 && block.2 > 0).then_some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_written_compactly_and_read_back() {
        for (nodes, text) in [
            (vec![0, 0, 0, 0], "(vector,(0,1,4))"),
            (vec![0, 0, 1, 1], "(vector,(0,2,2))"),
            (vec![0, 1, 0, 1], "(vector,(0,2,1),(0,2,1))"),
            (vec![3, 3, 0], "(vector,(3,1,2),(0,1,1))"),
        ] {
            assert_eq!(format_mapping(&nodes), text);
            assert_eq!(parse_mapping(text, nodes.len() as u32), Some(nodes));
        }
    }

    #[test]
    fn the_vector_repeats_and_nonsense_is_refused() {
        assert_eq!(parse_mapping("(vector,(0,2,1))", 5), Some(vec![0, 1, 0, 1, 0]));
        for text in
            ["", "(vector)", "(vector,())", "(vector,(0,1))", "(vector,(0,0,1))", "(vector,(0,1,1)"]
        {
            assert_eq!(parse_mapping(text, 2), None, "{text}");
        }
    }
}
