//! The job's key-value space, and the ring exchange.

use std::ffi::c_int;

use pmi_client::backend::Backend;
use pmi_client::collective::Side;
use pmi_client::entry;
use pmi_client::entry::argument::{Chars, Out, Text};
use pmi_client::error::{Code, Failure};
use pmi_client::process;
use pmi_protocol::limits::KVSNAME_MAX;

use super::{KEY_MAX, VALUE_MAX, failure, int, member};

entry! {
    /// Puts a pair.
    fn PMI2_KVS_Put(key: Text, value: Text) {
        let key = key.at_most(KEY_MAX, Code::InvalidKey)?;
        let value = value.at_most(VALUE_MAX, Code::InvalidVal)?;
        let member = member()?;
        let backend = member.backend();
        backend.put(backend.kvsname().as_bytes(), key, value).map_err(failure)
    }
}

entry! {
    /// Hands over what was put, and waits for all ranks.
    fn PMI2_KVS_Fence() {
        let member = member()?;
        let backend = member.backend();
        backend.commit(backend.kvsname().as_bytes()).map_err(failure)?;
        member.barrier()
    }
}

/// Is it the job that a get may ask?
fn check_job(backend: &dyn Backend, jobid: Option<&[u8]>) -> Result<(), Failure> {
    match jobid {
        None | Some(b"") => Ok(()),
        Some(jobid) if jobid == backend.kvsname().as_bytes() => Ok(()),
        Some(jobid) => Err(Failure::because(format!(
            "{} is not this job, and this version of libpmi2.so cannot connect jobs",
            String::from_utf8_lossy(jobid)
        ))),
    }
}

entry! {
    /// Gets a value. No system call, no allocation. Every node has all values, so the hint is of no use.
    fn PMI2_KVS_Get(
        jobid: Text,
        src_pmi_id: c_int,
        key: Text,
        value: Chars,
        maxvalue: c_int,
        vallen: Out<c_int>,
    ) {
        let jobid = jobid.optional(KVSNAME_MAX, Code::InvalidArg)?;
        let key = key.at_most(KEY_MAX, Code::InvalidKey)?;
        let buffer = value.sized(maxvalue, Code::InvalidVal)?;
        let vallen = vallen.or(Code::InvalidArg)?;
        if maxvalue < 1 {
            return Err(Code::InvalidLength.into());
        }
        let mut read = |value: &[u8]| {
            let fits = buffer.check(value.len(), Code::InvalidLength).is_ok();
            buffer.write_truncated(value);
            vallen.set(if fits { int(value.len()) } else { -int(value.len()) });
        };
        let mut get = |backend: &dyn Backend| {
            check_job(backend, jobid)?;
            backend.get(backend.kvsname().as_bytes(), key, &mut read).map_err(failure)
        };
        process::peek(|member| get(member.backend())).ok_or(Code::Init)?
    }
}

entry! {
    /// Exchanges values with the neighbours in the ring of all ranks.
    fn PMIX_Ring(
        value: Text,
        rank: Out<c_int>,
        ranks: Out<c_int>,
        left: Chars,
        right: Chars,
        maxvalue: c_int,
    ) {
        let value = value.at_most(VALUE_MAX, Code::InvalidVal)?;
        let (rank, ranks) = (rank.or(Code::InvalidArg)?, ranks.or(Code::InvalidArg)?);
        let left = left.sized(maxvalue, Code::InvalidArg)?;
        let right = right.sized(maxvalue, Code::InvalidArg)?;
        left.check(value.len(), Code::InvalidLength)?;
        let member = member()?;
        member.ring(value, |side, value| match side {
            Side::Left => left.write(value, Code::InvalidLength),
            Side::Right => right.write(value, Code::InvalidLength),
        })?;
        rank.set(int(member.place().rank));
        ranks.set(int(member.place().size));
        Ok(())
    }
}
