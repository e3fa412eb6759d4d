//! The server that pmi-srun starts is found over whatever networks there are between its host and the nodes.

use pmi_tests::{Job, Slurm, binary};

/// A cluster of its own, whose network a test may change.
fn cluster(options: &[&str]) -> Slurm {
    Slurm::with_options(&[&["--hosts", "2"], options].concat())
}

/// `pmi-srun` with four ranks on two nodes.
fn pmi_srun(slurm: &Slurm) -> Job {
    slurm.login(&binary("pmi-srun")).args(["--nodes=2", "--ntasks=4"])
}

/// So many ranks on so many nodes have each other's values.
fn exchange(job: Job, ranks: u32, nodes: u32) {
    let outcome = job.arg(binary("pmi-info")).arg("exchange").run();
    outcome.assert_success();
    let summary = format!("pmi-info: works: {ranks} ranks on {nodes} hosts through the server");
    assert!(outcome.stdout.contains(&summary), "{}", outcome.stdout);
}

#[test]
fn on_a_port_that_the_clusters_firewall_leaves_open() {
    let slurm = cluster(&["--conf", "SrunPortRange=60001-60100"]);
    let outcome = pmi_srun(&slurm).args(["sh", "-c", "echo $PMI_KVS_SERVER"]).run();
    outcome.assert_success();
    let address = outcome.stdout.lines().flat_map(|line| line.split(',')).next();
    let port = address.and_then(|address| address.rsplit(':').next()?.parse::<u16>().ok());
    assert!(port.is_some_and(|port| (60001..=60100).contains(&port)), "{}", outcome.stdout);
    exchange(pmi_srun(&slurm), 4, 2);
}

#[test]
fn of_several_interfaces_the_nodes_may_reach_one_only() {
    let slurm = cluster(&[]);
    // Documentation's own network (RFC 5737): no node has a route to it.
    for words in [
        "ip link add far type veth peer name further",
        "ip address add 192.0.2.1/24 dev far",
        "ip link set far up",
        "ip link set further up",
    ] {
        slurm.as_root("login", &words.split(' ').collect::<Vec<_>>());
    }
    let outcome = pmi_srun(&slurm).args(["sh", "-c", "echo $PMI_KVS_SERVER"]).run();
    assert!(outcome.stdout.contains("192.0.2.1:"), "{}", outcome.stdout);
    exchange(pmi_srun(&slurm), 4, 2);
}

#[test]
fn over_ipv6_where_nothing_else_comes_through() {
    let slurm = cluster(&[]);
    for (number, host) in slurm.hosts().iter().enumerate() {
        let address = format!("fd00:213::{}/64", number + 1);
        slurm.as_root(&host.name, &["ip", "address", "add", &address, "dev", "eth0", "nodad"]);
    }
    slurm.loss(100);
    exchange(pmi_srun(&slurm), 4, 2);
}

#[test]
fn on_nodes_that_the_user_names() {
    let slurm = Slurm::shared_of_four();
    let job = slurm.login(&binary("pmi-srun")).args(["--nodelist=node1,node3", "--ntasks=4"]);
    exchange(job, 4, 2);
}

#[test]
fn two_hundred_and_fifty_six_ranks_on_four_nodes() {
    let job = Slurm::shared_of_four().login(&binary("pmi-srun"));
    let job = job.args(["--nodes=4", "--ntasks=256", "--ntasks-per-node=64"]);
    exchange(job, 256, 4);
}
