//! libFuzzer, for `tests/fuzz/run`: a library of C++ that changes inputs, and keeps those that reach
//! code which no other reaches.

use std::ffi::{CString, c_char, c_int};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// What runs each input.
static CHECK: OnceLock<fn(&[u8])> = OnceLock::new();

// A panic aborts the process. Before, libFuzzer writes the input into a file.
fuzz_target!(|input: &[u8]| CHECK.get().expect("a check")(input));

unsafe extern "C" {
    fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int;
    fn LLVMFuzzerRunDriver(
        count: *mut c_int,
        arguments: *mut *mut *mut c_char,
        run: unsafe extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

/// Runs a target with these arguments of libFuzzer. Ends the process if an input fails, or when the
/// time is over.
pub fn run(check: fn(&[u8]), arguments: &str) {
    CHECK.set(check).expect("one target per process");
    let words = ["fuzz"].into_iter().chain(arguments.split_whitespace());
    let words: Vec<_> = words.map(|word| CString::new(word).expect("no zero byte")).collect();
    let words: Vec<*mut c_char> = words.into_iter().map(CString::into_raw).collect();
    // Both stay as they are to the end of the process, as the arguments of `main` do.
    let words = [words, vec![std::ptr::null_mut()]].concat().leak();
    let mut count = words.len() as c_int - 1;
    let mut arguments = words.as_mut_ptr();
    // SAFETY: `count` and `arguments` are those of a `main`: as many strings, and a null pointer. The
    // third is the function that `fuzz_target` defines for libFuzzer.
    let code = unsafe { LLVMFuzzerRunDriver(&mut count, &mut arguments, LLVMFuzzerTestOneInput) };
    assert_eq!(code, 0, "libFuzzer failed");
}
