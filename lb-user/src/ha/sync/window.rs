//! Which of the last thousand sequence numbers have arrived: what arrives twice
//! is noticed, and so is what never comes. Pure.

/// Words of the window.
pub(super) const WORDS: usize = 16;
/// Sequence numbers it remembers.
pub(super) const SIZE: u64 = 64 * WORDS as u64;
/// A number is missed when so many later ones have arrived.
const PATIENCE: u64 = 64;

/// What a sequence number is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// It has not been here.
    New,
    /// It has been here.
    Seen,
    /// It is older than the window remembers.
    Forgotten,
}

/// The window. It begins with the first number marked; what was sent before is
/// taken in if it comes late, and not missed if it does not.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Window {
    /// 0: nothing has arrived.
    highest: u64,
    /// The first number that arrived.
    first: u64,
    /// Bit *n* of word *m*: whether `highest - 64 m - n` has arrived.
    bits: [u64; WORDS],
    /// Numbers that left the window without having arrived.
    lost: u64,
}

impl Window {
    /// What that number is.
    pub(super) fn place(&self, sequence: u64) -> Place {
        match self.highest.checked_sub(sequence) {
            None => Place::New,
            Some(back) if back >= SIZE => Place::Forgotten,
            Some(back) if self.has(back) => Place::Seen,
            Some(_) => Place::New,
        }
    }

    /// That number has arrived.
    pub(super) fn mark(&mut self, sequence: u64) {
        if self.highest == 0 {
            (self.highest, self.first) = (sequence, sequence);
        }
        if sequence > self.highest {
            self.advance(sequence);
        }
        let back = self.highest - sequence;
        if let Some(word) = self.bits.get_mut((back / 64) as usize) {
            *word |= 1 << (back % 64);
        }
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    pub(super) fn bits(&self) -> [u64; WORDS] {
        self.bits
    }

    /// Numbers that did not arrive though so many later ones did that they
    /// hardly will.
    pub(super) fn lost(&self) -> u64 {
        self.lost + self.missing(PATIENCE..SIZE)
    }

    fn missing(&self, back: std::ops::Range<u64>) -> u64 {
        let was_sent = |back: &u64| self.highest.checked_sub(*back).is_some_and(|number| number >= self.first.max(1));
        back.filter(was_sent).filter(|back| !self.has(*back)).count() as u64
    }

    fn has(&self, back: u64) -> bool {
        self.bits[(back / 64) as usize] >> (back % 64) & 1 == 1
    }

    fn advance(&mut self, highest: u64) {
        let by = highest - self.highest;
        let missed = self.missing(SIZE.saturating_sub(by)..SIZE);
        let never_inside = by.saturating_sub(SIZE);
        self.lost = self.lost.saturating_add(missed).saturating_add(never_inside);
        shift(&mut self.bits, by);
        self.highest = highest;
    }
}

/// Makes every number in the window `by` older.
fn shift(bits: &mut [u64; WORDS], by: u64) {
    let words = usize::try_from(by / 64).unwrap_or(WORDS).min(WORDS);
    bits.rotate_right(words);
    bits[..words].fill(0);
    let by = by % 64;
    if by != 0 {
        for word in (0..WORDS).rev() {
            let from_younger = if word == 0 { 0 } else { bits[word - 1] >> (64 - by) };
            bits[word] = bits[word] << by | from_younger;
        }
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
