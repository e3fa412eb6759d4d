//! Which ports the cluster's firewall leaves open between nodes and srun.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use pmi_launch::resolve;
use pmi_server_io::sockets::{PortRange, parse_port_range};

/// Any port that is free.
const ANY: PortRange = 0..=0;

/// Slurm's `SrunPortRange` (slurm.conf(5)), as `scontrol show config` tells it: that knows where the configuration
/// comes from, also where nodes get it from the controller. Any port, if none is set or nobody answers: then srun will
/// say why.
pub fn srun_port_range(path: Option<&OsStr>) -> PortRange {
    let Ok(scontrol) = resolve::program(OsStr::new("scontrol"), None, path) else { return ANY };
    let mut command = Command::new(scontrol);
    command.args(["show", "config"]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    range_in(&String::from_utf8_lossy(&output)).unwrap_or(ANY)
}

fn range_in(config: &str) -> Option<PortRange> {
    let line = config.lines().find_map(|line| line.trim_start().strip_prefix("SrunPortRange"))?;
    let value = line.trim_start().strip_prefix('=')?;
    parse_port_range(value.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_read_and_none_is_none() {
        let config = |value| format!("SlurmUser = x\nSrunPortRange           = {value}\nA = b\n");
        assert_eq!(range_in(&config("60001-63000")), Some(60001..=63000));
        assert_eq!(range_in(&config("0-0")), None);
        assert_eq!(range_in("SrunProlog = (null)"), None);
    }
}
