//! `LABELS`: what an operator calls the things that the maps number.
//!
//! The names live in the kernel beside the numbers, so that a restarted daemon
//! knows what it left behind and `lbctl --offline` can speak of members and not
//! of ids.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

use crate::limits::{LABEL_BYTES, MAX_INSTANCES, MAX_LISTENERS, MAX_MEMBERS, MAX_POOLS, MAX_VIPS};

/// What a label names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Labelled {
    /// A VIP and so its load balancer.
    Vip(u16),
    /// A listener.
    Listener(u16),
    /// A pool.
    Pool(u16),
    /// A member.
    Member(u16),
    /// A VRRP instance.
    Instance(u8),
}

/// Entries of the `LABELS` array.
pub const LABELS: u32 = MAX_VIPS + MAX_LISTENERS + MAX_POOLS + MAX_MEMBERS + MAX_INSTANCES;

impl Labelled {
    /// Index into the `LABELS` array.
    #[must_use]
    pub const fn index(self) -> u32 {
        match self {
            Self::Vip(id) => id as u32,
            Self::Listener(id) => MAX_VIPS + id as u32,
            Self::Pool(id) => MAX_VIPS + MAX_LISTENERS + id as u32,
            Self::Member(id) => MAX_VIPS + MAX_LISTENERS + MAX_POOLS + id as u32,
            Self::Instance(id) => MAX_VIPS + MAX_LISTENERS + MAX_POOLS + MAX_MEMBERS + id as u32,
        }
    }
}

/// A name of up to [`LABEL_BYTES`] bytes: the length in the first word, then
/// the bytes in memory order.
#[repr(C)]
#[derive(Debug)]
pub struct Label {
    words: [AtomicU64; 16],
}

const _: () = assert!(size_of::<Label>() == 128 && LABEL_BYTES == 15 * 8);

impl Label {
    /// Writes a name, cut to [`LABEL_BYTES`] at a character boundary.
    pub fn set(&self, name: &str) {
        let mut end = name.len().min(LABEL_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let bytes = &name.as_bytes()[..end];
        for (word, chunk) in self.words[1..].iter().zip(bytes.chunks(8)) {
            let mut b = [0u8; 8];
            b[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(b), Relaxed);
        }
        self.words[0].store(end as u64, Relaxed);
    }

    /// Copies the name into `buffer`; `None` where there is none or it is not UTF-8.
    pub fn get<'b>(&self, buffer: &'b mut [u8; LABEL_BYTES]) -> Option<&'b str> {
        let length = self.words[0].load(Relaxed) as usize;
        if length == 0 || length > LABEL_BYTES {
            return None;
        }
        for (word, chunk) in self.words[1..].iter().zip(buffer.chunks_mut(8)) {
            chunk.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
        core::str::from_utf8(&buffer[..length]).ok()
    }

    /// Removes the name.
    pub fn clear(&self) {
        self.words[0].store(0, Relaxed);
    }
}

impl Default for Label {
    fn default() -> Self {
        Self { words: [const { AtomicU64::new(0) }; 16] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_and_a_long_one_is_cut_between_characters() {
        let label = Label::default();
        let mut buffer = [0; LABEL_BYTES];
        assert_eq!(label.get(&mut buffer), None);
        label.set("web/app/10.0.0.1:80");
        assert_eq!(label.get(&mut buffer), Some("web/app/10.0.0.1:80"));
        let long = "ä".repeat(100);
        label.set(&long);
        assert_eq!(label.get(&mut buffer), Some(&long[..120]));
        label.clear();
        assert_eq!(label.get(&mut buffer), None);
    }
}
