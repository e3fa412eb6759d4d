//! What the C entry points of both libraries share: arguments as C passes them, and what happens around a body.

pub mod argument;
mod call;

pub use call::{Named, answer, enter};

/// Defines an exported C function: traced, with errors as codes, and a panic as `PMI_FAIL`.
#[macro_export]
macro_rules! entry {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        ///
        /// # Safety
        /// Every pointer is NULL or what the C header says it is.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $kind),*) -> std::ffi::c_int {
            $crate::entry::enter(
                stringify!($name),
                &[$((stringify!($arg), &$arg as &dyn std::fmt::Display)),*],
                || -> Result<(), $crate::error::Failure> { $body },
            )
        }
    };
}
