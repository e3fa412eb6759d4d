//! Group functions: membership, rank and size, node, barrier, abort.

use std::ffi::c_int;
use std::sync::Arc;

use crate::keyval::OPTIONS;
use pmi_client::backend::Api;
use pmi_client::entry;
use pmi_client::entry::argument::{Chars, Out, Text};
use pmi_client::error::{Code, Failure};
use pmi_client::process::{self, Member};
use pmi_protocol::limits::KVSNAME_MAX;

/// The membership, for functions that fail with `PMI_FAIL` outside it.
fn member() -> Result<Arc<Member>, Failure> {
    process::member().ok_or(Code::Fail.into())
}

/// Numbers of ranks and lengths are far below `c_int::MAX` (`pmi_protocol::limits`).
fn int(number: impl TryInto<c_int>) -> c_int {
    number.try_into().unwrap_or(c_int::MAX)
}

/// Answers a question about the membership.
fn tell(answer: Out<c_int>, of: impl FnOnce(&Member) -> c_int) -> Result<(), Failure> {
    let answer = answer.or(Code::InvalidArg)?;
    answer.set(of(&*member()?));
    Ok(())
}

entry! {
    /// Joins the job.
    fn PMI_Init(spawned: Out<c_int>) {
        let spawned = spawned.or(Code::InvalidArg)?;
        spawned.set(process::init(Api::Pmi1)?.spawned.into());
        Ok(())
    }
}

entry! {
    /// Is this process a member of its job?
    fn PMI_Initialized(initialized: Out<c_int>) {
        let initialized = initialized.or(Code::InvalidArg)?;
        initialized.set(process::member().is_some().into());
        Ok(())
    }
}

entry! {
    /// Leaves the job.
    fn PMI_Finalize() {
        process::finalize()
    }
}

entry! {
    /// The number of ranks.
    fn PMI_Get_size(size: Out<c_int>) {
        tell(size, |member| int(member.place().size))
    }
}

entry! {
    /// This process's rank.
    fn PMI_Get_rank(rank: Out<c_int>) {
        tell(rank, |member| int(member.place().rank))
    }
}

entry! {
    /// The number of ranks that the job could have.
    fn PMI_Get_universe_size(size: Out<c_int>) {
        tell(size, |member| int(member.place().universe_size))
    }
}

entry! {
    /// The number of this process's command in its job.
    fn PMI_Get_appnum(appnum: Out<c_int>) {
        tell(appnum, |member| int(member.place().appnum))
    }
}

/// The kvsname names the process group as well: it is as unique, and the group's spaces are reached by it.
fn write_id(id: Chars, length: c_int) -> Result<(), Failure> {
    if length < 1 {
        return Err(Code::InvalidLength.into());
    }
    let id = id.sized(length, Code::InvalidArg)?;
    id.write(member()?.backend().kvsname().as_bytes(), Code::InvalidLength)
}

entry! {
    /// A string that names the process group.
    fn PMI_Get_id(id_str: Chars, length: c_int) {
        write_id(id_str, length)
    }
}

entry! {
    /// A string that names the domain in which key-value spaces are shared: the process group.
    fn PMI_Get_kvs_domain_id(id_str: Chars, length: c_int) {
        write_id(id_str, length)
    }
}

entry! {
    /// Room that `PMI_Get_id` needs.
    fn PMI_Get_id_length_max(length: Out<c_int>) {
        length.or(Code::InvalidArg)?.set(int(KVSNAME_MAX));
        Ok(())
    }
}

entry! {
    /// Waits for all ranks.
    fn PMI_Barrier() {
        member()?.barrier()
    }
}

entry! {
    /// The number of ranks on this node.
    fn PMI_Get_clique_size(size: Out<c_int>) {
        tell(size, |member| int(member.clique().len()))
    }
}

entry! {
    /// The ranks on this node.
    fn PMI_Get_clique_ranks(ranks: Out<c_int>, length: c_int) {
        let ranks = ranks.or(Code::InvalidArg)?;
        let member = member()?;
        let clique = member.clique();
        if int(clique.len()) > length {
            return Err(Code::InvalidLength.into());
        }
        ranks.set_all(clique.iter().map(|&rank| int(rank)));
        Ok(())
    }
}

entry! {
    /// Ends the job; does not return.
    fn PMI_Abort(exit_code: c_int, error_msg: Text) {
        let text = error_msg.or(Code::InvalidArg).ok().map(String::from_utf8_lossy);
        process::abort(&format!("PMI_Abort({exit_code})"), exit_code, text.as_deref())
    }
}

entry! {
    /// A description of command-line options.
    fn PMI_Get_options(str: Chars, length: Out<c_int>) {
        let length = length.or(Code::InvalidArg)?;
        let room = length.value();
        let buffer = str.sized(room, Code::InvalidArg)?;
        if room < 1 {
            return Err(Code::InvalidLength.into());
        }
        buffer.write_truncated(OPTIONS.as_bytes());
        length.set(int(OPTIONS.len() + 1));
        buffer.check(OPTIONS.len(), Code::NoMem)
    }
}
