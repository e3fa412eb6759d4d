//! The C symbols. An entry point says which pointers it takes and what an invalid one returns, calls safe code, and
//! nothing else; [`pmi_client::entry!`] does the rest for all of them.
#![allow(non_snake_case, reason = "the names are those of pmi2.h")]

mod info;
mod job;
mod kvs;
mod names;
mod spawn;

use std::ffi::c_int;
use std::sync::Arc;

use pmi_client::error::{BackendError, Code, Failure};
use pmi_client::process::{self, Member};

/// `PMI2_MAX_KEYLEN`: longest key and attribute name in bytes. The header leaves open whether the NUL counts, so both are
/// taken; portable programs count it in.
const KEY_MAX: usize = 64;

/// `PMI2_MAX_VALLEN` and `PMI2_MAX_ATTRVALUE`, likewise.
const VALUE_MAX: usize = 1024;

const _: () = {
    assert!(KEY_MAX <= pmi_protocol::limits::KEY_MAX);
    assert!(VALUE_MAX <= pmi_protocol::limits::VALUE_MAX);
};

/// The membership, for functions that fail outside it.
fn member() -> Result<Arc<Member>, Failure> {
    process::member().ok_or(Code::Init.into())
}

/// Numbers of ranks and lengths are far below `c_int::MAX` (`pmi_protocol::limits`).
fn int(number: impl TryInto<c_int>) -> c_int {
    number.try_into().unwrap_or(c_int::MAX)
}

/// The codes of PMI-2 where they are not those of PMI-1. A job's own space is always there, except in a forked child.
fn failure(error: BackendError) -> Failure {
    match error {
        BackendError::NoSuchKey => Code::OTHER.into(),
        BackendError::NoSuchSpace => Code::Init.into(),
        other => other.into(),
    }
}
