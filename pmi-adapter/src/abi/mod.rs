//! The C symbols. An entry point says which pointers it takes and what an invalid one returns, calls safe
//! code, and nothing else; [`enter`] does the rest for all of them.
#![allow(non_snake_case, reason = "the names are those of pmi.h")]

mod argument;
mod call;
mod group;
mod keyvals;
mod kvs;
mod spawn;

/// Defines an exported function: traced, with errors as codes, and a panic as `PMI_FAIL`.
macro_rules! entry {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        ///
        /// # Safety
        /// Every pointer is NULL or what `pmi.h` says it is.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $kind),*) -> std::ffi::c_int {
            $crate::abi::call::enter(
                stringify!($name),
                &[$((stringify!($arg), &$arg as &dyn std::fmt::Display)),*],
                || -> Result<(), $crate::error::Failure> { $body },
            )
        }
    };
}
use entry;
