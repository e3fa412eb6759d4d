//! The C symbols. An entry point says which pointers it takes and what an invalid one returns, calls safe
//! code, and nothing else; [`pmi_client::entry!`] does the rest for all of them.
#![allow(non_snake_case, reason = "the names are those of pmi.h")]

mod group;
mod keyvals;
mod kvs;
mod spawn;
mod split;
