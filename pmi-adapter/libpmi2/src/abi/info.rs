//! Attributes of node and job.

use std::ffi::c_int;

use pmi_client::entry;
use pmi_client::entry::argument::{Buffer, Chars, Out, Slot, Text};
use pmi_client::error::{Code, Failure};

use super::{KEY_MAX, VALUE_MAX, failure, int, member};

/// Where the value of an attribute goes.
struct Answer {
    value: Buffer,
    found: Slot<c_int>,
}

impl Answer {
    fn new(value: Chars, valuelen: c_int, found: Out<c_int>) -> Result<Answer, Failure> {
        let value = value.sized(valuelen, Code::InvalidVal)?;
        Ok(Answer { value, found: found.or(Code::InvalidArg)? })
    }

    /// Runs a look-up, which hands over the value and says whether there is one.
    fn take(
        &self,
        look: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut written = Ok(());
        let mut read = |value: &[u8]| written = self.value.write(value, Code::InvalidLength);
        let found = look(&mut read)?;
        written?;
        self.found.set(found.into());
        Ok(())
    }
}

/// Where an array of numbers goes.
struct Numbers {
    array: Slot<c_int>,
    room: c_int,
    count: Slot<c_int>,
    found: Slot<c_int>,
}

impl Numbers {
    fn new(
        array: Out<c_int>,
        room: c_int,
        count: Out<c_int>,
        found: Out<c_int>,
    ) -> Result<Numbers, Failure> {
        let (array, count) = (array.or(Code::InvalidArg)?, count.or(Code::InvalidArg)?);
        Ok(Numbers { array, room, count, found: found.or(Code::InvalidArg)? })
    }

    fn take(
        &self,
        look: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut numbers = Some(Vec::new());
        let found = look(&mut |value| numbers = parse(value))?;
        let numbers = numbers.ok_or(Code::OTHER)?;
        if int(numbers.len()) > self.room {
            self.count.set(int(numbers.len()));
            return Err(Code::InvalidLength.into());
        }
        if found {
            self.count.set(int(numbers.len()));
            self.array.set_all(numbers.into_iter());
        }
        self.found.set(found.into());
        Ok(())
    }
}

/// Numbers separated by commas.
fn parse(value: &[u8]) -> Option<Vec<c_int>> {
    let text = std::str::from_utf8(value).ok()?;
    text.split(',').map(|number| number.trim().parse().ok()).collect()
}

entry! {
    /// Puts an attribute of the node.
    fn PMI2_Info_PutNodeAttr(name: Text, value: Text) {
        let name = name.at_most(KEY_MAX, Code::InvalidKey)?;
        let value = value.at_most(VALUE_MAX, Code::InvalidVal)?;
        member()?.backend().put_node_attribute(name, value).map_err(failure)
    }
}

entry! {
    /// Gets an attribute of the node; waits for it if asked to.
    fn PMI2_Info_GetNodeAttr(
        name: Text,
        value: Chars,
        valuelen: c_int,
        found: Out<c_int>,
        waitfor: c_int,
    ) {
        let name = name.at_most(KEY_MAX, Code::InvalidKey)?;
        let answer = Answer::new(value, valuelen, found)?;
        let member = member()?;
        answer.take(|read| member.node_attribute(name, waitfor != 0, read))
    }
}

entry! {
    /// Gets an attribute of the node that is an array of numbers.
    fn PMI2_Info_GetNodeAttrIntArray(
        name: Text,
        array: Out<c_int>,
        arraylen: c_int,
        outlen: Out<c_int>,
        found: Out<c_int>,
    ) {
        let name = name.at_most(KEY_MAX, Code::InvalidKey)?;
        let numbers = Numbers::new(array, arraylen, outlen, found)?;
        let member = member()?;
        numbers.take(|read| member.node_attribute(name, false, read))
    }
}

entry! {
    /// Gets an attribute of the job.
    fn PMI2_Info_GetJobAttr(name: Text, value: Chars, valuelen: c_int, found: Out<c_int>) {
        let name = name.at_most(KEY_MAX, Code::InvalidKey)?;
        let answer = Answer::new(value, valuelen, found)?;
        let member = member()?;
        answer.take(|read| member.job_attribute(name, read))
    }
}

entry! {
    /// Gets an attribute of the job that is an array of numbers.
    fn PMI2_Info_GetJobAttrIntArray(
        name: Text,
        array: Out<c_int>,
        arraylen: c_int,
        outlen: Out<c_int>,
        found: Out<c_int>,
    ) {
        let name = name.at_most(KEY_MAX, Code::InvalidKey)?;
        let numbers = Numbers::new(array, arraylen, outlen, found)?;
        let member = member()?;
        numbers.take(|read| member.job_attribute(name, read))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn numbers_are_separated_by_commas() {
        assert_eq!(parse(b"7"), Some(vec![7]));
        assert_eq!(parse(b"1,-2, 3"), Some(vec![1, -2, 3]));
        for bad in [&b""[..], b"1,", b"one", b"1;2", b"2147483648", b"\xff"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
