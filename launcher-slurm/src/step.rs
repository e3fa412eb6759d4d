//! The server of one step: its socket, its name and its secret.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;

use clap::Args;
use pmi_launch::error::Error;
use pmi_launch::key;
use pmi_protocol::limits::{LOG_CEILING_DEFAULT, LOG_CEILING_MAX, LOG_CEILING_MIN};
use pmi_server_io::sockets::{self, Pair, PortRange, parse_port_range};

use crate::ports;

/// What a user or an administrator may settle; options of `pmi-srun`, and arguments of `spank_pmi.so` without the
/// `--pmi-`.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Ports of which the server takes the first that is free for UDP and TCP [default: Slurm's SrunPortRange]
    #[arg(long, value_name = "LOW-HIGH", require_equals = true, value_parser = parse_port_range)]
    pub pmi_port_range: Option<PortRange>,

    /// Most bytes that all keys and values of the step may have
    #[arg(long, value_name = "BYTES", require_equals = true, default_value_t = LOG_CEILING_DEFAULT,
          value_parser = clap::value_parser!(u64).range(LOG_CEILING_MIN..=LOG_CEILING_MAX))]
    pub pmi_log_ceiling: u64,

    /// Do not set LD_LIBRARY_PATH, I_MPI_PMI_LIBRARY, FLUX_JOB_ID and FLUX_PMI_LIBRARY_PATH, by which programs find our
    /// libpmi.so
    #[arg(long)]
    pub pmi_no_library: bool,
}

/// A step's server that has not been started.
pub struct Step {
    /// The server's sockets.
    pub sockets: Pair,
    /// Its addresses, as `PMI_KVS_SERVER` has them.
    pub addresses: String,
    /// The job's name.
    pub job: String,
    /// The job's key: 64 hex digits.
    pub secret: String,
}

impl Step {
    /// Binds its sockets, and makes up a name that begins with `starter`, and a secret. `path` is where `scontrol` is
    /// looked for.
    pub fn new(starter: &str, settings: &Settings, path: Option<&OsStr>) -> Result<Step, Error> {
        let ports = match settings.pmi_port_range.clone() {
            Some(range) => range,
            None => ports::srun_port_range(path),
        };
        let sockets = sockets::bind_any(&ports).map_err(|reason| bind_error(&ports, reason))?;
        let addresses = sockets::reachable(&sockets.udp)
            .map_err(Error::system("find this host's addresses"))?;
        let secret = key::new_secret().map_err(Error::system("make the job's key"))?.to_hex();
        let job = key::job_name(starter, &key::host_name());
        Ok(Step { sockets, addresses: addresses_text(&addresses), job, secret })
    }
}

fn bind_error(ports: &PortRange, reason: io::Error) -> Error {
    match (*ports.start(), *ports.end()) {
        (0, 0) => Error::system("bind the key-value server's socket")(reason),
        // The message names the range and what to do.
        _ => Error::system("bind the key-value server within its port range or SrunPortRange")(
            reason,
        ),
    }
}

fn addresses_text(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}
