//! Process creation: the arguments are checked, then the call fails with its reason.

use std::ffi::{c_char, c_int};

use pmi_client::entry;
use pmi_client::entry::argument::{Array, Chars, Out, Text};
use pmi_client::error::{Code, Failure};

use super::member;

const NO_SPAWN: &str =
    "this version of libpmi2.so cannot create processes: start all ranks with the launcher";

/// `MPID_Info` as in Slurm's header; MPICH's own are different. A (key, value) pair and the next one.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Info {
    handle: c_int,
    mutex: c_int,
    references: c_int,
    next: *mut Info,
    key: *mut c_char,
    value: *mut c_char,
}

/// Commands and their process numbers must be there; argument vectors may be NULL.
fn check_commands(count: c_int, cmds: Array<Text>, maxprocs: Array<c_int>) -> Result<(), Failure> {
    if count < 1 {
        return Err(Code::InvalidArg.into());
    }
    for command in cmds.slice(count, Code::InvalidArg)? {
        command.or(Code::InvalidArg)?;
    }
    let bad = maxprocs.slice(count, Code::InvalidArg)?.iter().any(|&processes| processes < 1);
    if bad { Err(Code::InvalidArg.into()) } else { Ok(()) }
}

/// Where a size is not zero, there is an array of that size.
fn check_infos(
    count: c_int,
    sizes: Array<c_int>,
    vectors: Array<Array<Info>>,
) -> Result<(), Failure> {
    if sizes.is_null() {
        return Ok(());
    }
    let sizes = sizes.slice(count, Code::InvalidArg)?;
    if sizes.iter().all(|&size| size == 0) {
        return Ok(());
    }
    let vectors = vectors.slice(count, Code::InvalidArg)?;
    let missing =
        |(&size, vector): (&c_int, &Array<Info>)| size < 0 || size > 0 && vector.is_null();
    match sizes.iter().zip(vectors).any(missing) {
        true => Err(Code::InvalidArg.into()),
        false => Ok(()),
    }
}

entry! {
    /// Creates processes: not in this version.
    fn PMI2_Job_Spawn(
        count: c_int,
        cmds: Array<Text>,
        argcs: Array<c_int>,
        argvs: Array<Array<Text>>,
        maxprocs: Array<c_int>,
        info_keyval_sizes: Array<c_int>,
        info_keyval_vectors: Array<Array<Info>>,
        preput_keyval_size: c_int,
        preput_keyval_vector: Array<Array<Info>>,
        job_id: Chars,
        job_id_size: c_int,
        errors: Out<c_int>,
    ) {
        check_commands(count, cmds, maxprocs)?;
        check_infos(count, info_keyval_sizes, info_keyval_vectors)?;
        if preput_keyval_size != 0 {
            preput_keyval_vector.slice(preput_keyval_size, Code::InvalidArg)?;
        }
        job_id.sized(job_id_size, Code::InvalidArg)?;
        member()?;
        if let Some(errors) = errors.optional() {
            errors.set_all((0..count).map(|_| Code::Fail as c_int));
        }
        Err(Failure::because(NO_SPAWN))
    }
}

#[cfg(test)]
mod tests {
    use super::Info;

    /// Three ints, padding, three pointers: what Slurm's header declares on 64-bit systems.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_info_has_the_layout_of_slurms_header() {
        assert_eq!(std::mem::offset_of!(Info, next), 16);
        assert_eq!(std::mem::offset_of!(Info, key), 24);
        assert_eq!(std::mem::offset_of!(Info, value), 32);
        assert_eq!(size_of::<Info>(), 40);
    }
}
