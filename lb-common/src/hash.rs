//! The hash functions the data path and userspace must agree on.
//!
//! One finaliser (the 64-bit one of MurmurHash3, Appleby) is applied once per
//! word of the key. It costs about three nanoseconds in the kernel, where a
//! 128-bit multiplication does not exist. The seed is the operator's: an
//! attacker who does not know it cannot aim at one bucket.

/// Mixes all bits of a word into all bits.
#[inline(always)]
#[must_use]
pub const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Half of [`mix`]: each bit makes others in the upper half, and those come down.
#[inline(always)]
const fn round(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^ (x >> 29)
}

/// An odd constant near 2⁶⁴ divided by the golden ratio: multiplying by it
/// spreads neighbouring words over the upper bits.
pub const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The line of an index that a key of the operator's own making lies in; `lines` is a
/// power of two, at least 2. Numbers that follow each other lie far apart (Knuth, "The Art
/// of Computer Programming" 3, §6.4, Fibonacci hashing). One multiplication, a third of
/// what [`one`] takes: nobody else chooses what lies in such an index, so nobody can aim
/// at a line.
#[inline(always)]
#[must_use]
pub const fn line(key: u64, lines: u32) -> u32 {
    (key.wrapping_mul(SPREAD) >> (64 - lines.ilog2())) as u32
}

/// Hash of a one-word key.
#[inline(always)]
#[must_use]
pub const fn one(seed: u64, a: u64) -> u64 {
    mix(seed ^ a)
}

/// Hash of a two-word key.
#[inline(always)]
#[must_use]
pub const fn two(seed: u64, a: u64, b: u64) -> u64 {
    mix(mix(seed ^ a).wrapping_add(b))
}

/// Hash of a three-word key.
#[inline(always)]
#[must_use]
pub const fn three(seed: u64, a: u64, b: u64, c: u64) -> u64 {
    mix(two(seed, a, b).wrapping_add(c))
}

/// Scales a hash to `0..n` without dividing (Lemire, "Fast Random Integer
/// Generation in an Interval", 2019). Uses the upper 32 bits of the hash.
#[inline(always)]
#[must_use]
pub const fn scale(hash: u64, n: u32) -> u32 {
    (((hash >> 32) * n as u64) >> 32) as u32
}

/// What a pool's table is indexed by: the client and the listener it talks to,
/// as addresses and ports and never as ids, so that two balancers with the same
/// configuration and seed choose the same member and the same SNAT port.
///
/// `client` and `vip` are addresses as two words in wire order (an IPv4 address
/// in the first, zero in the second). With `ports` zero it is the hash of
/// SOURCE_IP, otherwise `client_port << 16 | protocol_port` makes it that of
/// SOURCE_IP_PORT.
#[inline(always)]
#[must_use]
pub const fn selection(seed: u64, client: [u64; 2], vip: [u64; 2], ports_and_protocol: u64) -> u64 {
    // One round for each word: the last two make bits of all of them.
    let [first, second] = client;
    let a = round(seed ^ first);
    let a = if second == 0 { a } else { round(a ^ second) };
    mix(a.wrapping_add(vip[0]) ^ vip[1].rotate_left(32) ^ ports_and_protocol.rotate_left(13))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_stays_inside_and_reaches_both_ends() {
        assert_eq!(scale(0, 65537), 0);
        assert_eq!(scale(u64::MAX, 65537), 65536);
        assert_eq!(scale(u64::MAX, 1), 0);
        assert_eq!(scale(u64::MAX, 0), 0);
    }

    #[test]
    fn flipping_any_input_bit_changes_about_half_of_the_output() {
        for bit in 0..64 {
            let flips = (one(7, 0x1234) ^ one(7, 0x1234 ^ (1 << bit))).count_ones();
            assert!((12..=52).contains(&flips), "bit {bit} flips {flips}");
        }
    }
}
