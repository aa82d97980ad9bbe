//! Random numbers that nobody can guess, from the kernel. A simulation draws them from a stream
//! that it sets, so that the same seed gives the same run.

#[cfg(not(feature = "simulation"))]
pub use getrandom::{fill, u32, u64};
#[cfg(feature = "simulation")]
pub use simulated::{fill, set_stream, u32, u64};

#[cfg(feature = "simulation")]
mod simulated {
    use std::cell::Cell;

    use getrandom::Error;

    thread_local! {
        static STREAM: Cell<u64> = const { Cell::new(0) };
    }

    /// Sets the state of the stream that this thread draws from. Returns its state until now, with
    /// which it can be continued.
    pub fn set_stream(state: u64) -> u64 {
        STREAM.replace(state)
    }

    /// A number. Never fails.
    pub fn u64() -> Result<u64, Error> {
        // SplitMix64.
        let state = STREAM.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        STREAM.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(mixed ^ (mixed >> 31))
    }

    /// A number. Never fails.
    pub fn u32() -> Result<u32, Error> {
        u64().map(|number| (number >> 32) as u32)
    }

    /// Fills all of these bytes. Never fails.
    pub fn fill(bytes: &mut [u8]) -> Result<(), Error> {
        for chunk in bytes.chunks_mut(8) {
            let drawn = u64()?.to_le_bytes();
            let count = chunk.len();
            chunk.copy_from_slice(&drawn[..count]);
        }
        Ok(())
    }
}
