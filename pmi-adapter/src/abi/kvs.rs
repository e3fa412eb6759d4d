//! Key-value spaces.

use std::ffi::c_int;

use pmi_protocol::limits::{JOB_NAME_MAX, KEY_MAX, KVSNAME_MAX, VALUE_MAX};

use pmi_client::entry;
use pmi_client::entry::argument::{Buffer, Chars, Out, Text};
use pmi_client::error::{Code, Failure, of_kvsname_argument};
use pmi_client::process;

/// Outside the membership there are no spaces, so every kvsname is wrong.
const NO_SPACE: Code = Code::InvalidKvs;

/// Longest `.<rank>.<serial>` that makes the kvsname of a created space from the group's own.
const CREATED_SUFFIX_MAX: usize = KVSNAME_MAX - JOB_NAME_MAX;

entry! {
    /// The group's own kvsname.
    fn PMI_KVS_Get_my_name(kvsname: Chars, length: c_int) {
        let kvsname = kvsname.sized(length, Code::InvalidArg)?;
        let member = process::member().ok_or(Code::Fail)?;
        kvsname.write(member.backend().kvsname().as_bytes(), Code::InvalidLength)
    }
}

entry! {
    /// Room for a kvsname.
    fn PMI_KVS_Get_name_length_max(length: Out<c_int>) {
        length.or(Code::InvalidArg)?.set(process::limits().kvsname as c_int);
        Ok(())
    }
}

entry! {
    /// Room for a key.
    fn PMI_KVS_Get_key_length_max(length: Out<c_int>) {
        length.or(Code::InvalidArg)?.set(process::limits().key as c_int);
        Ok(())
    }
}

entry! {
    /// Room for a value.
    fn PMI_KVS_Get_value_length_max(length: Out<c_int>) {
        length.or(Code::InvalidArg)?.set(process::limits().value as c_int);
        Ok(())
    }
}

entry! {
    /// Makes a space.
    fn PMI_KVS_Create(kvsname: Chars, length: c_int) {
        let buffer = kvsname.sized(length, Code::InvalidArg)?;
        let member = process::member().ok_or(Code::Fail)?;
        // Checked before, so that no space is made and then lost for want of room.
        buffer.check(member.backend().kvsname().len() + CREATED_SUFFIX_MAX, Code::InvalidLength)?;
        let kvsname = member.backend().create_space()?;
        buffer.write(kvsname.as_bytes(), Code::InvalidLength)
    }
}

entry! {
    /// Ends a space.
    fn PMI_KVS_Destroy(kvsname: Text) {
        let kvsname = kvsname.at_most(KVSNAME_MAX, Code::InvalidArg)?;
        let member = process::member().ok_or(Code::InvalidArg)?;
        member.backend().destroy_space(kvsname).map_err(of_kvsname_argument)
    }
}

entry! {
    /// Puts a pair.
    fn PMI_KVS_Put(kvsname: Text, key: Text, value: Text) {
        let kvsname = kvsname.at_most(KVSNAME_MAX, Code::InvalidKvs)?;
        let key = key.at_most(KEY_MAX, Code::InvalidKey)?;
        // Some servers take longer values than ours; the backend knows.
        let longest = process::limits().value.max(VALUE_MAX);
        let value = value.at_most(longest, Code::InvalidVal)?;
        process::member().ok_or(NO_SPACE)?.backend().put(kvsname, key, value).map_err(Failure::from)
    }
}

entry! {
    /// Hands over what was put.
    fn PMI_KVS_Commit(kvsname: Text) {
        let kvsname = kvsname.at_most(KVSNAME_MAX, Code::InvalidArg)?;
        let member = process::member().ok_or(Code::Fail)?;
        member.backend().commit(kvsname).map_err(of_kvsname_argument)
    }
}

entry! {
    /// Gets a value. The one call that programs make by the thousand: no system call, no allocation.
    fn PMI_KVS_Get(kvsname: Text, key: Text, value: Chars, length: c_int) {
        let kvsname = kvsname.at_most(KVSNAME_MAX, Code::InvalidKvs)?;
        let key = key.at_most(KEY_MAX, Code::InvalidKey)?;
        let buffer = value.sized(length, Code::InvalidVal)?;
        let mut written = Ok(());
        let mut read = |value: &[u8]| written = buffer.write(value, Code::InvalidLength);
        process::peek(|member| member.backend().get(kvsname, key, &mut read)).ok_or(NO_SPACE)??;
        written
    }
}

/// The buffers of an iteration.
struct PairBuffers {
    key: Buffer,
    value: Buffer,
}

impl PairBuffers {
    fn new(
        key: Chars,
        key_len: c_int,
        value: Chars,
        value_len: c_int,
    ) -> Result<PairBuffers, Failure> {
        let key = key.sized(key_len, Code::InvalidKey)?;
        let value = value.sized(value_len, Code::InvalidVal)?;
        Ok(PairBuffers { key, value })
    }

    /// Stores both or none.
    fn write(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.key.check(key.len(), Code::InvalidKeyLength)?;
        self.value.write(value, Code::InvalidValLength)?;
        self.key.write(key, Code::InvalidKeyLength)
    }
}

fn iterate(
    kvsname: Text,
    buffers: Result<PairBuffers, Failure>,
    from_first: bool,
) -> Result<(), Failure> {
    let kvsname = kvsname.at_most(KVSNAME_MAX, Code::InvalidKvs)?;
    let buffers = buffers?;
    let member = process::member().ok_or(NO_SPACE)?;
    if from_first {
        member.rewind(kvsname)?;
    }
    member.next_pair(kvsname, |key, value| buffers.write(key, value))
}

entry! {
    /// The first pair of a space.
    fn PMI_KVS_Iter_first(kvsname: Text, key: Chars, key_len: c_int, val: Chars, val_len: c_int) {
        iterate(kvsname, PairBuffers::new(key, key_len, val, val_len), true)
    }
}

entry! {
    /// The next pair of a space.
    fn PMI_KVS_Iter_next(kvsname: Text, key: Chars, key_len: c_int, val: Chars, val_len: c_int) {
        iterate(kvsname, PairBuffers::new(key, key_len, val, val_len), false)
    }
}

/// The draft's iterators know no lengths: the buffers have the announced maxima.
fn announced(key: Chars, val: Chars) -> Result<PairBuffers, Failure> {
    let limits = process::limits();
    PairBuffers::new(key, limits.key as c_int, val, limits.value as c_int)
}

entry! {
    /// `PMI_KVS_Iter_first` as the draft has it.
    fn PMI_KVS_iter_first(kvsname: Text, key: Chars, val: Chars) {
        iterate(kvsname, announced(key, val), true)
    }
}

entry! {
    /// `PMI_KVS_Iter_next` as the draft has it.
    fn PMI_KVS_iter_next(kvsname: Text, key: Chars, val: Chars) {
        iterate(kvsname, announced(key, val), false)
    }
}
