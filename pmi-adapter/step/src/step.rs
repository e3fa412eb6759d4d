//! A step of a Slurm job, as its tasks are told of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::ops::RangeInclusive;

/// Context of the derivation of a step's key; see `blake3::derive_key`.
const CONTEXT: &str = "pmi-adapter 2026 identity of a Slurm step v1";

/// A step, seen from one of its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// `SLURM_CLUSTER_NAME`; empty if it is not told.
    pub cluster: String,
    /// `SLURM_JOB_ID`.
    pub job: u32,
    /// `SLURM_STEP_ID`.
    pub step: u32,
    /// `SLURM_RESTART_COUNT`: a job that was requeued has the same number.
    pub restarts: u32,
    /// `SLURM_NODEID`: number of this task's node in the step. Node 0 has the server.
    pub node: u32,
    /// `SLURM_STEP_NUM_NODES`: number of nodes of the step, at least 1.
    pub nodes: u32,
    /// `SLURM_LOCALID`: number of this task on its node. Task 0 of node 0 has the server started.
    pub local: u32,
    /// The first host of `SLURM_STEP_NODELIST`, which is node 0.
    pub first_host: String,
    /// `SLURM_TASK_PID`: the process that slurmstepd has started for this task.
    pub task: Option<u32>,
    /// `PMI_STEP_PORTS`: UDP ports for the server, where the defaults do not do.
    pub ports: Option<RangeInclusive<u16>>,
}

impl Step {
    /// Name of the step's job, which is its kvsname: unique as long as anybody could confuse it.
    pub fn job_name(&self) -> String {
        format!("slurm-{}-{}", self.job, self.step)
    }

    /// Is this the node whose helper starts the server?
    pub fn is_first_node(&self) -> bool {
        self.node == 0
    }

    /// What all processes of a user in this step, and no others, derive alike. It is no secret.
    pub fn key(&self) -> StepKey {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&(self.cluster.len() as u64).to_le_bytes()).update(self.cluster.as_bytes());
        let uid = nix::unistd::geteuid().as_raw();
        for number in [self.job, self.step, self.restarts, uid] {
            hasher.update(&number.to_le_bytes());
        }
        StepKey(*hasher.finalize().as_bytes())
    }

    /// Addresses under which node 0 may be reached from here.
    ///
    /// # Errors
    /// Its name has none. The text says what to do.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, String> {
        if self.is_first_node() {
            let own = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            return Ok(own.to_vec());
        }
        match (self.first_host.as_str(), 0).to_socket_addrs() {
            Ok(found) => Ok(found.map(|address| address.ip()).collect()),
            Err(error) => Err(format!(
                "the first host of this step, {}, cannot be resolved here ({error}). Slurm itself may use another \
                 address (NodeAddr), which tasks are not told: make the name known to all nodes (/etc/hosts, DNS), or \
                 start the program with pmi-srun",
                self.first_host
            )),
        }
    }
}

/// What all processes of a user in one step derive alike. Anybody can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepKey(pub [u8; 32]);

impl StepKey {
    /// Bytes for a purpose of its own.
    pub fn derive(&self, purpose: &'static str) -> blake3::OutputReader {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(purpose.as_bytes()).update(&self.0);
        hasher.finalize_xof()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn step() -> Step {
        Step {
            cluster: "c".into(),
            job: 7,
            step: 2,
            restarts: 0,
            node: 0,
            nodes: 1,
            local: 0,
            first_host: "localhost".into(),
            task: None,
            ports: None,
        }
    }

    #[test]
    fn each_step_has_a_key_of_its_own_and_all_of_its_tasks_the_same() {
        let key = step().key();
        assert_eq!(Step { node: 3, local: 1, first_host: "x".into(), ..step() }.key(), key);
        for other in [
            Step { cluster: "d".into(), ..step() },
            Step { job: 8, ..step() },
            Step { step: 3, ..step() },
            Step { job: 2, step: 7, ..step() },
            Step { restarts: 1, ..step() },
        ] {
            assert_ne!(other.key(), key, "{other:?}");
        }
    }

    #[test]
    fn a_host_without_an_address_is_named() {
        let lost = Step { node: 1, first_host: "no-such-host.invalid".into(), ..step() };
        let error = lost.addresses().unwrap_err();
        assert!(error.contains("no-such-host.invalid") && error.contains("pmi-srun"), "{error}");
        assert!(Step { node: 0, ..lost }.addresses().is_ok());
    }
}
