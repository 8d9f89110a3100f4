//! Taking a fuzzer's bytes apart. Whatever is missing at the end reads as zero,
//! so that each prefix of an input is one too.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'d>(pub(super) &'d [u8]);

impl<'d> Bytes<'d> {
    pub(super) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Two bytes, the lower one first.
    pub(super) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// So many bytes, or those that there are.
    pub(super) fn take(&mut self, length: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// One of some things.
    pub(super) fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }
}
