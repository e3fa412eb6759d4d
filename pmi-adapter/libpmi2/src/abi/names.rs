//! The name service: the arguments are checked, then the call fails with its reason.

use std::ffi::c_int;

use pmi_client::entry;
use pmi_client::entry::argument::{Array, Chars, Text};
use pmi_client::error::{Code, Failure};

use super::member;
use super::spawn::Info;

const NO_NAMES: &str =
    "this version of libpmi2.so has no name service: pass the port by other means";

entry! {
    /// Publishes a name: not in this version.
    fn PMI2_Nameserv_publish(service_name: Text, info_ptr: Array<Info>, port: Text) {
        service_name.or(Code::InvalidArg)?;
        port.or(Code::InvalidArg)?;
        member()?;
        Err(Failure::because(NO_NAMES))
    }
}

entry! {
    /// Looks a published name up: not in this version.
    fn PMI2_Nameserv_lookup(
        service_name: Text,
        info_ptr: Array<Info>,
        port: Chars,
        port_len: c_int,
    ) {
        service_name.or(Code::InvalidArg)?;
        port.sized(port_len, Code::InvalidArg)?;
        member()?;
        Err(Failure::because(NO_NAMES))
    }
}

entry! {
    /// Takes a published name back: not in this version.
    fn PMI2_Nameserv_unpublish(service_name: Text, info_ptr: Array<Info>) {
        service_name.or(Code::InvalidArg)?;
        member()?;
        Err(Failure::because(NO_NAMES))
    }
}
