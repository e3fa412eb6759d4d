//! PMI-2's attributes of job and node: those that somebody has put or a server provides, and those that can be told from
//! the rank's place.
//!
//! Of the predefined names in `pmi2.h` there are `PMI_process_mapping` (which no header names, and every MPI library
//! needs), `universeSize`, `localRanks` and `localRanksCount`. The others are not known here, and are not found.

use pmi_protocol::mapping::PROCESS_MAPPING_KEY;

use crate::backend::ReadValue;
use crate::error::{BackendError, Failure};
use crate::process::Member;

impl Member {
    /// Calls `read` with an attribute of the job. False if there is no such attribute.
    pub fn job_attribute(&self, name: &[u8], read: ReadValue<'_>) -> Result<bool, Failure> {
        if found(self.backend().job_attribute(name, &mut *read))? {
            return Ok(true);
        }
        let known = match name {
            b"universeSize" => Some(self.place().universe_size.to_string()),
            name if name == PROCESS_MAPPING_KEY.as_bytes() => Some(self.plain_mapping()),
            _ => None,
        };
        Ok(tell(known, read))
    }

    /// All ranks on this node if that is known, else each on a node of its own, which is slower and never wrong: what
    /// the bridge says where nobody has provided a mapping. All ranks must say the same.
    fn plain_mapping(&self) -> String {
        let size = self.place().size;
        match self.clique().len() == size as usize {
            true => format!("(vector,(0,1,{size}))"),
            false => format!("(vector,(0,{size},1))"),
        }
    }

    /// Calls `read` with an attribute of the node. If there is none, waits for it where `wait` says so, else returns
    /// false.
    pub fn node_attribute(
        &self,
        name: &[u8],
        wait: bool,
        read: ReadValue<'_>,
    ) -> Result<bool, Failure> {
        if found(self.backend().node_attribute(name, false, &mut *read))? {
            return Ok(true);
        }
        let known = match name {
            b"localRanks" => Some(list(self.clique())),
            b"localRanksCount" => Some(self.clique().len().to_string()),
            _ => None,
        };
        match tell(known, &mut *read) {
            false if wait => self.backend().node_attribute(name, true, read)?,
            there => return Ok(there),
        }
        Ok(true)
    }
}

/// Was there such an attribute?
fn found(outcome: Result<(), BackendError>) -> Result<bool, Failure> {
    match outcome {
        Ok(()) => Ok(true),
        Err(BackendError::NoSuchKey) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn tell(known: Option<String>, read: ReadValue<'_>) -> bool {
    known.inspect(|text| read(text.as_bytes())).is_some()
}

fn list(ranks: &[u32]) -> String {
    ranks.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}
