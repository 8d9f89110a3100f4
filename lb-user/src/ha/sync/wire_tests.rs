#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

fn key() -> Key {
    Key::new(b"sixteen bytes or more").unwrap()
}

fn header() -> Header {
    Header { kind: Kind::Live, hears: true, sender: 1, receiver: 2, sequence: 3, clock: 4, echo: 5 }
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    key().seal(&header(), body, &mut out);
    out
}

#[test]
fn a_short_secret_is_refused_with_its_length() {
    let error = Key::new(b"fifteen bytes..").unwrap_err();
    assert_eq!(error.length, 15);
    assert!(Key::new(&[0; MIN_SECRET]).is_ok());
}

#[test]
fn the_longest_body_fits_exactly() {
    assert_eq!(sealed(&[7; MAX_BODY]).len(), MAX_DATAGRAM);
    assert_eq!(sealed(&[7; MAX_BODY + 1]).len(), MAX_DATAGRAM);
}

#[test]
fn what_is_no_datagram_is_refused_with_the_reason() {
    let good = sealed(b"");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let cases = [
        (vec![], Refusal::Length),
        (good[..good.len() - 1].to_vec(), Refusal::Length),
        (vec![0; MAX_DATAGRAM + 1], Refusal::Length),
        (with(0, b'k'), Refusal::NotFlowSync),
        (with(4, 2), Refusal::Version),
        (with(5, 3), Refusal::Forged),
    ];
    for (bytes, refusal) in cases {
        assert_eq!(key().open(&bytes), Err(refusal));
    }
}

#[test]
fn a_tag_of_another_secret_is_none() {
    assert_eq!(Key::new(b"another secret of sixteen").unwrap().open(&sealed(b"x")), Err(Refusal::Forged));
}

#[test]
fn every_refusal_has_a_label_of_its_own() {
    let labels: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.label()).collect();
    assert_eq!(labels.len(), Refusal::ALL.len());
    assert!(Refusal::ALL.iter().all(|refusal| !refusal.meaning().is_empty()));
}

#[test]
fn a_key_is_not_shown() {
    assert_eq!(format!("{:?}", key()), "Key(..)");
}

proptest! {
    #[test]
    fn a_datagram_comes_back_as_it_was(
        kind: u8, hears: bool, numbers: [u64; 3], clocks: [u32; 2],
        body in prop::collection::vec(any::<u8>(), 0..=MAX_BODY),
    ) {
        let header = Header {
            kind: Kind::from_code(kind), hears,
            sender: numbers[0], receiver: numbers[1], sequence: numbers[2], clock: clocks[0], echo: clocks[1],
        };
        let mut out = b"what was there".to_vec();
        key().seal(&header, &body, &mut out);
        prop_assert_eq!(key().open(&out), Ok(Datagram { header, body: &body }));
    }

    #[test]
    fn one_changed_bit_is_noticed_wherever_it_is(body in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = sealed(&body);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert!(key().open(&bytes).is_err());
    }

    #[test]
    fn a_cut_or_longer_datagram_is_noticed(body in prop::collection::vec(any::<u8>(), 0..200), cut in 1usize..100, more in prop::collection::vec(any::<u8>(), 1..50)) {
        let bytes = sealed(&body);
        prop_assert!(key().open(&bytes[..bytes.len().saturating_sub(cut)]).is_err());
        prop_assert!(key().open(&[bytes, more].concat()).is_err());
    }

    #[test]
    fn any_bytes_are_refused_and_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..1500), honest in 0usize..7) {
        let mut bytes = bytes;
        let start = [b"KRFS".as_slice(), &[VERSION, 1]].concat();
        for (byte, good) in bytes.iter_mut().zip(&start[..honest.min(6)]) {
            *byte = *good;
        }
        prop_assert!(key().open(&bytes).is_err());
    }
}
