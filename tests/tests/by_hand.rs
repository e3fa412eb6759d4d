//! Without any launcher: a server started by hand, and ranks that somebody else starts with its environment.

use std::fs;

use pmi_tests::{Job, Running, binary, c_program, until};

/// The variables that the server wrote for its ranks.
fn environment(server: &Running) -> Vec<(String, String)> {
    let file = server.file("environment");
    let complete =
        || fs::read_to_string(&file).ok().filter(|text| text.contains("PMI_KVS_SECRET="));
    let text = until("the server to write its environment file", complete);
    let words = text.split_whitespace().filter_map(|word| word.split_once('='));
    words.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn rank(number: u32, environment: &[(String, String)]) -> Running {
    let job = Job::new(&c_program("exchange")).arg("3").env("PMI_RANK", number.to_string());
    environment.iter().fold(job, |job, (name, value)| job.env(name, value)).start()
}

#[test]
fn ranks_started_by_somebody_else_find_the_server() {
    let server = Job::new(&binary("pmi-kvs-server")).args(["--job", "by-hand", "--size", "3"]);
    // Without a launcher nobody else says that all ranks run on one host.
    let server = server.args(["--put", "PMI_process_mapping=(vector,(0,1,3))"]);
    let file = server.directory().join("environment");
    let server = server.arg("--env-file").arg(file).start();
    let environment = environment(&server);
    let ranks: Vec<Running> = (0..3).map(|number| rank(number, &environment)).collect();
    for rank in ranks {
        rank.finish().assert_success();
    }
    server.finish().assert_success();
}
