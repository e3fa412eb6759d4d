//! Gives anything to the client engine.

#![no_main]

#[path = "../client_body.rs"]
mod client_body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| client_body::run(input));
