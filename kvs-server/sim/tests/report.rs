//! What barriers cost the server, as the report counts it.

use clap::Parser;
use pmi_sim::report::{Delivery, Load, Report, measure};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    load: Load,
}

fn report(line: &str) -> Result<Report, String> {
    measure(&Line::parse_from(format!("report {line}").split(' ')).load)
}

#[test]
fn an_empty_barrier_is_one_datagram_a_node_each_way() {
    let report = report("--nodes 50 --ranks-per-node 4").unwrap();
    assert_eq!((report.size, report.rows.len()), (200, 3));
    for row in &report.rows {
        assert_eq!((row.datagrams_in, row.datagrams_out, row.repeated), (50, 50, 0), "{row}");
        assert_eq!(row.delivery, Delivery::Pushed);
        assert!(row.micros >= 50);
    }
}

#[test]
fn a_node_that_stands_for_all_counts_like_all() {
    let load = "--nodes 40 --ranks-per-node 8 --value-bytes 1000 --barriers 1";
    let all = report(load).unwrap().rows[1];
    let one = report(&format!("{load} --pull-mib 0")).unwrap().rows[1];
    assert_eq!((all.delivery, one.delivery), (Delivery::Pulled, Delivery::Estimated));
    assert_eq!(all.log_bytes, one.log_bytes);
    let off = |a: u64, b: u64| a.abs_diff(b) * 10 / a;
    assert_eq!(off(all.datagrams_out, one.datagrams_out), 0, "{all}\n{one}");
    assert_eq!(off(all.bytes_out, one.bytes_out), 0, "{all}\n{one}");
}

#[test]
fn scattered_ranks_cost_ranges_and_no_more_datagrams() {
    let row = report("--nodes 20 --ranks-per-node 100 --placement cyclic").unwrap().rows[1];
    assert_eq!((row.datagrams_in, row.bytes_in), (20, 20 * (64 + 100 * 8)));
}

#[test]
fn loads_beyond_the_limits_are_refused() {
    for line in [
        "--nodes 0 --ranks-per-node 1",
        "--nodes 100000 --ranks-per-node 1000",
        "--nodes 1 --ranks-per-node 1 --value-bytes 2000",
        "--nodes 10000 --ranks-per-node 1000 --value-bytes 1000",
    ] {
        assert!(report(line).is_err(), "{line}");
    }
}
