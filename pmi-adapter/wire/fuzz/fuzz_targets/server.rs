//! Gives anything to the server engine.

#![no_main]

#[path = "../server_body.rs"]
mod server_body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| server_body::run(input));
