//! A process outside any job: rank 0 of 1, with key-value spaces of its own.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use pmi_protocol::limits::{KEY_MAX, VALUE_MAX};
use pmi_protocol::mapping::{PROCESS_MAPPING_KEY, format_mapping};

use super::{Backend, LIMITS, Limits, Place, ReadPair, ReadValue};
use crate::environment::Placement;
use crate::error::BackendError;

/// The job of one.
pub struct Singleton {
    place: Place,
    kvsname: String,
    spaces: RwLock<Spaces>,
}

struct Spaces {
    by_name: HashMap<Vec<u8>, Space>,
    created: u32,
    node_attributes: Space,
}

/// Pairs in the order of their first put, which is the order of iteration.
#[derive(Default)]
struct Space {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    places: HashMap<Vec<u8>, usize>,
}

impl Singleton {
    /// A new job. Its kvsname is unique on this host over time: MPI libraries name shared memory after it.
    pub fn new(placement: &Placement) -> Singleton {
        let nanoseconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let kvsname = format!("singleton-{}-{nanoseconds:x}", std::process::id());
        let mut own = Space::default();
        // A job's launcher provides the mapping from the start; so do we.
        own.put(PROCESS_MAPPING_KEY.as_bytes(), format_mapping(&[0]).as_bytes());
        let by_name = HashMap::from([(kvsname.clone().into_bytes(), own)]);
        let spaces = Spaces { by_name, created: 0, node_attributes: Space::default() };
        Singleton { place: placement.into(), kvsname, spaces: RwLock::new(spaces) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Spaces> {
        self.spaces.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Spaces> {
        self.spaces.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spaces {
    fn space(&self, kvsname: &[u8]) -> Result<&Space, BackendError> {
        self.by_name.get(kvsname).ok_or(BackendError::NoSuchSpace)
    }
}

impl Space {
    fn get(&self, key: &[u8]) -> Result<&[u8], BackendError> {
        let place = *self.places.get(key).ok_or(BackendError::NoSuchKey)?;
        Ok(&self.pairs[place].1)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        match self.places.get(key) {
            Some(&place) => self.pairs[place].1 = value.to_vec(),
            None => {
                self.places.insert(key.to_vec(), self.pairs.len());
                self.pairs.push((key.to_vec(), value.to_vec()));
            }
        }
    }
}

fn check(key: &[u8], value: &[u8]) -> Result<(), BackendError> {
    match () {
        () if key.is_empty() || key.len() > KEY_MAX => Err(BackendError::KeyLength),
        () if value.len() > VALUE_MAX => Err(BackendError::ValueLength),
        () => Ok(()),
    }
}

/// Another thread of this process could still put it, but no program does that: it would wait for ever.
fn nobody_puts(name: &[u8]) -> BackendError {
    BackendError::Refused(format!(
        "node attribute {}: this process is outside any job, and has not put it itself, so nobody else will",
        String::from_utf8_lossy(name)
    ))
}

impl Backend for Singleton {
    fn place(&self) -> Place {
        self.place
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn is_singleton(&self) -> bool {
        true
    }

    fn kvsname(&self) -> &str {
        &self.kvsname
    }

    fn create_space(&self) -> Result<String, BackendError> {
        let mut spaces = self.write();
        let kvsname = format!("{}.0.{}", self.kvsname, spaces.created);
        spaces.created += 1;
        spaces.by_name.insert(kvsname.clone().into_bytes(), Space::default());
        Ok(kvsname)
    }

    fn destroy_space(&self, kvsname: &[u8]) -> Result<(), BackendError> {
        if kvsname == self.kvsname.as_bytes() {
            return Err(BackendError::NoSuchSpace);
        }
        self.write().by_name.remove(kvsname).map(drop).ok_or(BackendError::NoSuchSpace)
    }

    fn put(&self, kvsname: &[u8], key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        check(key, value)?;
        let mut spaces = self.write();
        let space = spaces.by_name.get_mut(kvsname).ok_or(BackendError::NoSuchSpace)?;
        space.put(key, value);
        Ok(())
    }

    fn commit(&self, kvsname: &[u8]) -> Result<(), BackendError> {
        self.read().space(kvsname).map(drop)
    }

    fn get(&self, kvsname: &[u8], key: &[u8], read: ReadValue<'_>) -> Result<(), BackendError> {
        let spaces = self.read();
        read(spaces.space(kvsname)?.get(key)?);
        Ok(())
    }

    fn next_pair(
        &self,
        kvsname: &[u8],
        cursor: u64,
        read: ReadPair<'_>,
    ) -> Result<Option<u64>, BackendError> {
        let spaces = self.read();
        let pair = spaces.space(kvsname)?.pairs.get(cursor as usize);
        Ok(pair.map(|(key, value)| {
            read(key, value);
            cursor + 1
        }))
    }

    fn barrier(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn begin_barrier(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn test_barrier(&self) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn finish_barrier(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn put_node_attribute(&self, name: &[u8], value: &[u8]) -> Result<(), BackendError> {
        check(name, value)?;
        self.write().node_attributes.put(name, value);
        Ok(())
    }

    fn node_attribute(
        &self,
        name: &[u8],
        wait: bool,
        read: ReadValue<'_>,
    ) -> Result<(), BackendError> {
        match self.read().node_attributes.get(name) {
            Ok(value) => read(value),
            Err(_) if wait => return Err(nobody_puts(name)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Nobody else is there to be told.
    fn abort(&self, _: i32, _: &str) {}

    fn finalize(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside() -> Singleton {
        Singleton::new(&Placement::read(&|_| None).unwrap())
    }

    fn get(job: &Singleton, kvsname: &str, key: &str) -> Result<String, BackendError> {
        let mut found = String::new();
        job.get(kvsname.as_bytes(), key.as_bytes(), &mut |value| {
            found = String::from_utf8_lossy(value).into_owned();
        })?;
        Ok(found)
    }

    #[test]
    fn a_later_put_replaces_the_earlier_one_and_keeps_its_place() {
        let job = outside();
        let name = job.create_space().unwrap();
        for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            job.put(name.as_bytes(), key.as_bytes(), value.as_bytes()).unwrap();
        }
        let (mut seen, mut cursor) = (String::new(), Some(0));
        while let Some(at) = cursor {
            let mut read = |key: &[u8], value: &[u8]| {
                seen += &String::from_utf8_lossy(&[key, b"=", value, b";"].concat());
            };
            cursor = job.next_pair(name.as_bytes(), at, &mut read).unwrap();
        }
        assert_eq!(seen, "a=3;b=2;");
    }

    #[test]
    fn spaces_are_separate_and_end_when_destroyed() {
        let job = outside();
        let name = job.create_space().unwrap();
        job.put(name.as_bytes(), b"key", b"value").unwrap();
        assert_eq!(get(&job, &name, "key").unwrap(), "value");
        assert_eq!(get(&job, job.kvsname(), "key"), Err(BackendError::NoSuchKey));
        job.destroy_space(name.as_bytes()).unwrap();
        assert_eq!(get(&job, &name, "key"), Err(BackendError::NoSuchSpace));
        assert_eq!(job.destroy_space(job.kvsname().as_bytes()), Err(BackendError::NoSuchSpace));
    }

    #[test]
    fn the_mapping_is_there_from_the_start_and_names_never_repeat() {
        let (one, other) = (outside(), outside());
        assert_eq!(get(&one, one.kvsname(), PROCESS_MAPPING_KEY).unwrap(), "(vector,(0,1,1))");
        assert_ne!(one.kvsname(), other.kvsname());
        assert_ne!(one.create_space(), one.create_space());
    }
}
