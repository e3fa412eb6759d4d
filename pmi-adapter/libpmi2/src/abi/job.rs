//! Membership, the ids of job and process, abort, other jobs.

use std::ffi::{c_int, c_void};

use pmi_client::backend::Api;
use pmi_client::entry;
use pmi_client::entry::answer;
use pmi_client::entry::argument::{Chars, Out, Text};
use pmi_client::error::{Code, Failure};
use pmi_client::process;
use pmi_protocol::limits::KVSNAME_MAX;

use super::{int, member};

const NO_OTHER_JOBS: &str = "this version of libpmi2.so cannot connect jobs";

/// What `appnum` is outside any job, as in MPICH's and Slurm's libraries.
const NO_APPNUM: c_int = -1;

/// `PMI2_Connect_comm_t`: not used yet.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Connection {
    read: Option<unsafe extern "C" fn(*mut c_void, c_int, *mut c_void) -> c_int>,
    write: Option<unsafe extern "C" fn(*const c_void, c_int, *mut c_void) -> c_int>,
    context: *mut c_void,
    is_master: c_int,
}

entry! {
    /// Joins the job.
    fn PMI2_Init(spawned: Out<c_int>, size: Out<c_int>, rank: Out<c_int>, appnum: Out<c_int>) {
        let (spawned, size) = (spawned.or(Code::InvalidArg)?, size.or(Code::InvalidArg)?);
        let (rank, appnum) = (rank.or(Code::InvalidArg)?, appnum.or(Code::InvalidArg)?);
        let place = process::init(Api::Pmi2)?;
        let outside = place.appnum == 0 && member()?.backend().is_singleton();
        spawned.set(place.spawned.into());
        size.set(int(place.size));
        rank.set(int(place.rank));
        appnum.set(if outside { NO_APPNUM } else { int(place.appnum) });
        Ok(())
    }
}

entry! {
    /// Leaves the job.
    fn PMI2_Finalize() {
        process::finalize()
    }
}

/// Is this process a member of its job?
#[unsafe(no_mangle)]
pub extern "C" fn PMI2_Initialized() -> c_int {
    answer("PMI2_Initialized", || process::member().is_some().into())
}

entry! {
    /// Ends the job, or this process only; does not return.
    fn PMI2_Abort(flag: c_int, msg: Text) {
        let text = msg.or(Code::InvalidArg).ok().map(String::from_utf8_lossy);
        let call = format!("PMI2_Abort({flag})");
        match flag {
            0 => process::leave(&call, text.as_deref()),
            code => process::abort(&call, code, text.as_deref()),
        }
    }
}

entry! {
    /// A string that names the job.
    fn PMI2_Job_GetId(jobid: Chars, jobid_size: c_int) {
        let jobid = jobid.sized(jobid_size, Code::InvalidArg)?;
        jobid.write(member()?.backend().kvsname().as_bytes(), Code::InvalidLength)
    }
}

entry! {
    /// This process's rank.
    fn PMI2_Job_GetRank(rank: Out<c_int>) {
        let rank = rank.or(Code::InvalidArg)?;
        rank.set(int(member()?.place().rank));
        Ok(())
    }
}

entry! {
    /// The number of ranks of the job: Slurm's header says of the node, its library and those who call it mean the job.
    fn PMI2_Info_GetSize(size: Out<c_int>) {
        let size = size.or(Code::InvalidArg)?;
        size.set(int(member()?.place().size));
        Ok(())
    }
}

entry! {
    /// Connects with another job: not in this version.
    fn PMI2_Job_Connect(jobid: Text, conn: Out<Connection>) {
        jobid.at_most(KVSNAME_MAX, Code::InvalidArg)?;
        conn.or(Code::InvalidArg)?;
        member()?;
        Err(Failure::because(NO_OTHER_JOBS))
    }
}

entry! {
    /// Disconnects from another job: not in this version.
    fn PMI2_Job_Disconnect(jobid: Text) {
        jobid.at_most(KVSNAME_MAX, Code::InvalidArg)?;
        member()?;
        Err(Failure::because(NO_OTHER_JOBS))
    }
}
