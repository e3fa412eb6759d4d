//! Extensions: split barriers and the exchange made of them.

use std::ffi::c_int;

use pmi_client::collective::Gather;
use pmi_client::entry;
use pmi_client::entry::argument::{Chars, Out, Text};
use pmi_client::error::Code;
use pmi_client::process;
use pmi_protocol::limits::VALUE_MAX;

entry! {
    /// Enters a barrier without waiting in it.
    fn PMIX_Ibarrier(request: Out<c_int>) {
        let request = request.or(Code::InvalidArg)?;
        request.set(process::member().ok_or(Code::Fail)?.begin_barrier()?);
        Ok(())
    }
}

entry! {
    /// Enters a barrier; the values of all ranks are there when it has opened.
    fn PMIX_Iallgather(value: Text, buffer: Chars, maxvalue: c_int, request: Out<c_int>) {
        let request = request.or(Code::InvalidArg)?;
        let value = value.at_most(process::limits().value.max(VALUE_MAX), Code::InvalidVal)?;
        if maxvalue < 1 {
            return Err(Code::InvalidLength.into());
        }
        let member = process::member().ok_or(Code::Fail)?;
        let row = buffer.row(member.place().size, maxvalue, Code::InvalidArg)?;
        let room = maxvalue as usize;
        row.part(0, room).check(value.len(), Code::InvalidLength)?;
        let gather: Gather = Box::new(move |rank, value| {
            row.part(rank as usize * room, room).write(value, Code::InvalidLength)
        });
        request.set(member.begin_allgather(value, gather)?);
        Ok(())
    }
}

entry! {
    /// Waits until a request is complete.
    fn PMIX_Wait(request: c_int) {
        process::member().ok_or(Code::Fail)?.wait(request)
    }
}

entry! {
    /// Is a request complete?
    fn PMIX_Test(request: c_int, flag: Out<c_int>) {
        let flag = flag.or(Code::InvalidArg)?;
        flag.set(process::member().ok_or(Code::Fail)?.test(request)?.into());
        Ok(())
    }
}
