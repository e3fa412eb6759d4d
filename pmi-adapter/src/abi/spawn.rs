//! Process creation and name publishing: the arguments are checked, then the call fails with its reason.

use std::ffi::c_int;

use super::keyvals::Keyval;
use pmi_client::entry;
use pmi_client::entry::argument::{Array, Chars, Out, Text};
use pmi_client::error::{Code, Failure};

const NO_SPAWN: &str =
    "this version of libpmi.so cannot create processes: start all ranks with the launcher";
const NO_NAMES: &str =
    "this version of libpmi.so has no name service: pass the port by other means";

/// Commands and their process numbers must be there; argument vectors and infos may be NULL.
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

/// An array of this size may be missing only if the size is zero.
fn check_vector<T>(size: c_int, vector: Array<T>) -> Result<(), Failure> {
    let missing = size != 0 && vector.is_null();
    if size < 0 || missing { Err(Code::InvalidArg.into()) } else { Ok(()) }
}

fn check_infos(
    count: c_int,
    sizes: Array<c_int>,
    vectors: Array<Array<Keyval>>,
) -> Result<(), Failure> {
    if sizes.is_null() {
        return Ok(());
    }
    let sizes = sizes.slice(count, Code::InvalidArg)?;
    if sizes.iter().all(|&size| size == 0) {
        return Ok(());
    }
    let vectors = vectors.slice(count, Code::InvalidArg)?;
    sizes.iter().zip(vectors).try_for_each(|(&size, &vector)| check_vector(size, vector))
}

entry! {
    /// Creates processes: not in this version.
    fn PMI_Spawn_multiple(
        count: c_int,
        cmds: Array<Text>,
        argvs: Array<Array<Text>>,
        maxprocs: Array<c_int>,
        info_keyval_sizes: Array<c_int>,
        info_keyval_vectors: Array<Array<Keyval>>,
        preput_keyval_size: c_int,
        preput_keyval_vector: Array<Keyval>,
        errors: Out<c_int>,
    ) {
        check_commands(count, cmds, maxprocs)?;
        check_infos(count, info_keyval_sizes, info_keyval_vectors)?;
        check_vector(preput_keyval_size, preput_keyval_vector)?;
        if let Some(errors) = errors.optional() {
            errors.set_all((0..count).map(|_| Code::Fail as c_int));
        }
        Err(Failure::because(NO_SPAWN))
    }
}

entry! {
    /// The draft's spawn of one command: not in this version.
    fn PMI_Spawn(
        command: Text,
        argv: Array<Text>,
        maxprocs: c_int,
        spawned_kvsname: Chars,
        kvsnamelen: c_int,
    ) {
        command.or(Code::InvalidArg)?;
        spawned_kvsname.sized(kvsnamelen, Code::InvalidArg)?;
        if maxprocs < 1 {
            return Err(Code::InvalidArg.into());
        }
        Err(Failure::because(NO_SPAWN))
    }
}

entry! {
    /// Publishes a name: not in this version.
    fn PMI_Publish_name(service_name: Text, port: Text) {
        service_name.or(Code::InvalidArg)?;
        port.or(Code::InvalidArg)?;
        Err(Failure::because(NO_NAMES))
    }
}

entry! {
    /// Takes a published name back: not in this version.
    fn PMI_Unpublish_name(service_name: Text) {
        service_name.or(Code::InvalidArg)?;
        Err(Failure::because(NO_NAMES))
    }
}

entry! {
    /// Looks a published name up: not in this version.
    fn PMI_Lookup_name(service_name: Text, port: Chars) {
        service_name.or(Code::InvalidArg)?;
        port.sized(0, Code::InvalidArg)?;
        Err(Failure::because(NO_NAMES))
    }
}
