//! The command line of `pmi-kvs-server`; `--help` and the man page are made from it.

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::Parser;
use pmi_protocol::limits::LOG_CEILING_DEFAULT;

use pmi_server_io::sockets::{PortRange, parse_port_range};

/// The key-value server of one parallel job: put, get and barrier for PMI clients, over UDP. Nodes
/// on other hosts also keep a TCP connection to the same port, which carries nothing: its end tells of a host that has
/// crashed.
///
/// Launchers (pmi-ssh) start it with inherited descriptors and speak JSON lines with it. Started by hand it
/// binds its own socket, prints its events as JSON lines, and ends when every rank has finalized, five seconds
/// after the job has failed (exit code 1), or on SIGINT and SIGTERM. The job's key is read from PMI_KVS_SECRET; without it a
/// new one is made, which --env-file hands to the ranks.
#[derive(Clone, Debug, Parser)]
#[command(name = "pmi-kvs-server", version, max_term_width = 100)]
pub struct Args {
    /// Job name, which is the default kvsname: unique on the host over time
    #[arg(long, value_name = "NAME", required_unless_present = "man")]
    pub job: Option<String>,

    /// Number of ranks of the job; without it, the first rank that joins tells it, and all others must agree
    #[arg(long, value_name = "N")]
    pub size: Option<u32>,

    /// A further process group, of the size that its first rank tells; may be given several times
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,

    /// A pair that every rank sees from the start; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_put, requires = "size")]
    pub put: Vec<(String, String)>,

    /// Most bytes that the job's log may have
    #[arg(long, value_name = "BYTES", default_value_t = LOG_CEILING_DEFAULT)]
    pub log_ceiling: u64,

    /// Bind to this address (several times for several); default: all addresses of the host
    #[arg(long, value_name = "ADDRESS", conflicts_with = "socket_fd")]
    pub bind: Vec<IpAddr>,

    /// Bind to the first port of this range that is free for UDP and TCP
    #[arg(long, value_name = "LOW-HIGH", value_parser = parse_port_range, conflicts_with = "socket_fd")]
    pub port_range: Option<PortRange>,

    /// Serve this inherited UDP socket; may be given several times
    #[arg(long, value_name = "FD")]
    pub socket_fd: Vec<RawFd>,

    /// Accept the lifelines of nodes on this inherited TCP listener, which has the socket's port; may be given several times
    #[arg(long, value_name = "FD", requires = "socket_fd")]
    pub listen_fd: Vec<RawFd>,

    /// Keep the log in this inherited memory file, and go on with what an earlier server left there
    #[arg(long, value_name = "FD")]
    pub log_fd: Option<RawFd>,

    /// Speak JSON lines with the launcher on this inherited socket, and end when it closes
    #[arg(long, value_name = "FD")]
    pub control_fd: Option<RawFd>,

    /// Write the environment of the ranks to this file (mode 0600), removed at the end
    #[arg(long, value_name = "FILE", conflicts_with = "control_fd")]
    pub env_file: Option<PathBuf>,

    /// Print the man page in roff and end
    #[arg(long)]
    pub man: bool,
}

fn parse_put(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or(format!("'{text}' is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        let args = Args::parse_from(["x", "--job", "j", "--size", "2", "--put", "a=b=c"]);
        assert_eq!(args.put, [("a".to_owned(), "b=c".to_owned())]);
        assert_eq!(Args::parse_from(["x", "--job", "j"]).size, None);
        assert!(Args::try_parse_from(["x", "--size", "2"]).is_err());
        assert!(Args::try_parse_from(["x", "--job", "j", "--put", "a=b"]).is_err());
        assert!(Args::try_parse_from(["x", "--man"]).is_ok());
    }
}
