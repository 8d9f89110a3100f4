//! The fuzz entry over the corpus, over arbitrary bytes, and over what real
//! senders build with something changed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;

use super::*;

impl Scene {
    /// What the peer sends that is configured like this receiver.
    fn built(&self, priority: u8) -> Vec<u8> {
        let (source, destination) = (self.peer, self.destination);
        let mut out = Vec::new();
        let sending = Sending { priority, source, destination, at_utc: UTC };
        build(&self.router, &self.exchange, sending, &mut HmacStamp::default(), &mut out);
        out
    }
}

/// The third choice of authentication.
const ENFORCE: u8 = AUTHENTICATION * 3;

/// A name, the bytes, and what becomes of them.
type Seed = (String, Vec<u8>, Option<Refusal>);

fn seed(name: &str, form: u8, oddities: u8, message: &[u8], refusal: Option<Refusal>) -> Seed {
    (format!("{name}.bin"), [&[form, oddities, 0], message].concat(), refusal)
}

/// One of each form that is let in, and one for each reason not to.
fn seeds() -> Vec<Seed> {
    let built = |form| Scene::of(form, 0).unwrap().built(100);
    let mut seeds = Vec::new();
    for (name, form) in [
        ("v3-ipv4", 0),
        ("v3-ipv4-message-only", MESSAGE_ONLY),
        ("v3-ipv4-unicast", UNICAST),
        ("v3-ipv6", IPV6),
        ("v3-ipv6-unicast", IPV6 | UNICAST),
        ("v2", VERSION_2),
        ("v2-password-unicast", VERSION_2 | UNICAST | AUTHENTICATION),
        ("v3-ipv4-receive-only", AUTHENTICATION),
        ("v3-ipv4-permissive", AUTHENTICATION * 2),
        ("v3-ipv4-enforce", ENFORCE),
        ("v3-ipv6-enforce", IPV6 | ENFORCE),
    ] {
        seeds.push(seed(name, form, 0, &built(form), None));
    }
    let mut refuse = |form: u8, oddities: u8, message: &[u8], refusal: Refusal| {
        seeds.push(seed(refusal.label(), form, oddities, message, Some(refusal)));
    };
    let altered = |form: u8, at: usize, value: u8| {
        let mut message = built(form & !MEND);
        message[at] = value;
        message
    };
    let password = VERSION_2 | AUTHENTICATION;
    refuse(0, STRANGER | FEW_HOPS, &built(0), Refusal::Hops);
    refuse(IPV6, STRANGER, &built(IPV6), Refusal::Family);
    refuse(0, OWN_SOURCE, &built(0), Refusal::OwnAddress);
    refuse(UNICAST, STRANGER, &built(UNICAST), Refusal::Stranger);
    refuse(0, OTHER_DESTINATION, &built(0), Refusal::Destination);
    refuse(0, 0, &built(0)[..7], Refusal::Short);
    refuse(VERSION_2, 0, &built(0), Refusal::Version);
    refuse(MEND, 0, &altered(MEND, 0, 0x32), Refusal::Type);
    refuse(MEND, 0, &altered(MEND, 1, 52), Refusal::OtherVrid);
    refuse(MEND, 0, &altered(MEND, 3, 0)[..8], Refusal::NoAddress);
    refuse(MEND, 0, &altered(MEND, 3, 3), Refusal::Length);
    refuse(0, 0, &built(ENFORCE), Refusal::TrailerUnexpected);
    refuse(0, 0, &altered(0, 7, 0x5a), Refusal::Checksum);
    refuse(MEND, 0, &altered(MEND, 5, 0), Refusal::IntervalZero);
    refuse(VERSION_2 | MEND, 0, &altered(VERSION_2 | MEND, 5, 2), Refusal::IntervalDiffers);
    refuse(IPV6 | MEND, 0, &altered(IPV6 | MEND, 8, 0x20), Refusal::FirstNotLinkLocal);
    refuse(VERSION_2 | MEND, 0, &altered(VERSION_2 | MEND, 11, 1), Refusal::AddressesDiffer);
    refuse(password, 0, &built(VERSION_2), Refusal::AuthenticationKind);
    refuse(password | MEND, 0, &altered(password | MEND, 20, 0), Refusal::Password);
    refuse(ENFORCE, 0, &built(0), Refusal::TrailerMissing);
    refuse(ENFORCE, 0, &altered(ENFORCE, 16, 9), Refusal::TrailerMalformed);
    refuse(ENFORCE, 0, &altered(ENFORCE, 17, 3), Refusal::KeyUnknown);
    refuse(ENFORCE, 0, &altered(ENFORCE, 20, 0), Refusal::Stale);
    refuse(ENFORCE, 0, &altered(ENFORCE, 40, 0), Refusal::Hmac);
    seeds
}

fn corpus() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries.map(|path| (named(&path), std::fs::read(&path).unwrap())).collect()
}

/// With `VRRP_WRITE_CORPUS` set, writes the seeds anew.
#[test]
fn the_corpus_holds_the_seeds_and_each_has_its_fate() {
    if std::env::var_os("VRRP_WRITE_CORPUS").is_some() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        std::fs::create_dir_all(&folder).unwrap();
        seeds().iter().for_each(|(name, bytes, _)| std::fs::write(folder.join(name), bytes).unwrap());
    }
    let corpus = corpus();
    for (name, bytes, refusal) in seeds() {
        assert_eq!(corpus.get(&name), Some(&bytes), "{name}");
        assert_eq!(fuzz_parse(&bytes).unwrap().err(), refusal, "{name}");
    }
}

#[test]
fn the_corpus_breaks_nothing_and_reaches_every_refusal_it_can() {
    let outcomes = corpus().into_values().filter_map(|bytes| fuzz_parse(&bytes));
    let reached: BTreeSet<_> = outcomes.filter_map(Result::err).collect();
    // A header of IP is not part of these messages, no choice makes an
    // impossible source, and nothing is played twice in the first place.
    let rest = [Refusal::IpHeader, Refusal::Source, Refusal::Replayed];
    let expected = Refusal::ALL.iter().filter(|refusal| !rest.contains(refusal)).copied();
    assert_eq!(reached, expected.collect());
}

/// The first bytes of something that can be received.
fn forms() -> impl Strategy<Value = u8> {
    any::<u8>().prop_filter("no such receiver", |form| Scene::of(*form, 0).is_some())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_break_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..1600)) {
        fuzz_parse(&bytes);
    }

    #[test]
    fn arbitrary_datagrams_break_nothing(
        words in 0u8..16, length in any::<u16>(), bytes in proptest::collection::vec(any::<u8>(), 20..200)
    ) {
        let mut bytes = bytes;
        bytes[0] = 0x40 | words;
        bytes[2..4].copy_from_slice(&(length % 256).to_be_bytes());
        bytes[6..8].fill(0);
        bytes[9] = 112;
        fuzz_parse(&bytes);
    }

    #[test]
    fn what_is_built_is_taken_in_whatever_the_form(form in forms(), oddities in any::<bool>(), priority in any::<u8>()) {
        let oddities = if oddities { MANY_ADDRESSES } else { 0 };
        let built = Scene::of(form, oddities).unwrap().built(priority);
        let advert = fuzz_parse(&[&[form & !MEND, oddities, 0], &built[..]].concat()).unwrap().unwrap();
        prop_assert_eq!(advert.priority, priority);
        prop_assert_eq!(advert.interval, Duration::from_secs(1));
        prop_assert!(!advert.notes.addresses_differ && !advert.notes.interval_differs);
    }

    #[test]
    fn a_changed_byte_is_refused_or_looks_like_the_other_form_of_checksum(
        form in forms(), at in any::<prop::sample::Index>(), change in 1u8..
    ) {
        let form = form & !MEND;
        let scene = Scene::of(form, 0).unwrap();
        let mut message = scene.built(100);
        let at = at.index(message.len());
        message[at] ^= change;
        if let Ok(advert) = fuzz_parse(&[&[form, 0, 0], &message[..]].concat()).unwrap() {
            prop_assert_eq!((scene.router.family, scene.router.version), (Family::V4, Version::V3));
            prop_assert_ne!(advert.checksum, scene.exchange.checksum);
        }
    }

    #[test]
    fn messages_with_several_bytes_changed_and_mended_break_nothing(
        form in forms(),
        oddities in any::<u8>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in proptest::option::of(0usize..120),
    ) {
        let mut message = Scene::of(form, 0).unwrap().built(100);
        for (at, value) in changes {
            let at = at.index(message.len());
            message[at] = value;
        }
        if let Some(length) = length {
            message.resize(length, 0);
        }
        fuzz_parse(&[&[form | MEND, oddities, 0], &message[..]].concat());
    }
}
