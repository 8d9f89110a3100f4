//! The program itself: that the verifier takes it, with room to spare.

use std::time::Duration;

use anyhow::Result;
use krater_tests::packets::kernel::{Kernel, apart};

/// What the verifier gives up at.
const LIMIT: u32 = 1_000_000;

#[test]
fn the_verifier_accepts_the_program_and_has_a_quarter_of_its_patience_left() -> Result<()> {
    apart(|| {
        let kernel = Kernel::load()?;
        let info = kernel.describe()?;
        println!(
            "{} instructions looked at, {} bytes of machine code, loaded in {} ms",
            info.verified_instructions,
            info.jited_bytes,
            kernel.loaded_in().as_millis()
        );
        assert!(info.verified_instructions < LIMIT / 4 * 3, "{}", info.verified_instructions);
        assert!(kernel.loaded_in() < Duration::from_secs(60));
        Ok(())
    })
}
