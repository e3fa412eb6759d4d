//! A port that is taken, or an address that is not ours: the reason is said and nothing is started.

use std::net::UdpSocket;

use pmi_tests::{Job, binary, c_program};

/// A UDP port of loopback that somebody else holds.
fn taken_port() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = socket.local_addr().expect("a bound socket has an address").port();
    (socket, format!("{port}-{port}"))
}

fn server() -> Job {
    Job::new(&binary("pmi-kvs-server")).args(["--job", "nobody", "--size", "1"])
}

#[test]
fn a_server_by_hand_says_which_ports_are_taken() {
    let (_socket, range) = taken_port();
    let outcome = server().args(["--bind", "127.0.0.1", "--port-range", &range]).run();
    outcome.assert_failure().assert_says(&["pmi-kvs-server: ", &range]);
}

#[test]
fn a_server_by_hand_says_which_address_is_not_its_own() {
    let outcome = server().args(["--bind", "192.0.2.1"]).run();
    outcome.assert_failure().assert_says(&["pmi-kvs-server: ", "192.0.2.1"]);
}

#[test]
fn a_launcher_says_which_ports_are_taken_and_starts_no_rank() {
    let (_socket, range) = taken_port();
    let job = Job::of(2)
        .args(["--port-range", &range])
        .arg(c_program("trouble"))
        .arg("plain")
        .arg_directory();
    job.run().assert_failure().assert_says(&["pmi-ssh: ", &range]);
}
