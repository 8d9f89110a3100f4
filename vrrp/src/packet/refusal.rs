//! Why an advert was not taken. One append-only list that yields the counter,
//! the label and the text an operator reads.

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $name:ident, $label:literal;)+) => {
        /// A reason not to take an advert. Each is a counter.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Refusal {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Refusal {
            /// Every reason; the place in it is [`Refusal::index`].
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in metrics and on the command line.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// What it means and what to look at.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// Its place in [`Refusal::ALL`], for an array of counters.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

refusals! {
    /// The IP header is cut short, contradicts the packet's length, or belongs to a fragment or another protocol.
    IpHeader, "ip_header";
    /// The packet is of the other address family than the virtual router.
    Family, "family";
    /// The TTL or hop limit is not 255: the packet came over a router, so it was sent from another network.
    Hops, "hops";
    /// The source is no address that a host can have.
    Source, "source";
    /// The source is this node's own address: its own advert came back, or another node has the same address.
    OwnAddress, "own_address";
    /// The source is not among those that may send: add it to the peers or the allowed sources if it should be.
    Stranger, "stranger";
    /// It was sent to the multicast group while unicast is expected, or the other way round: use the same on all nodes.
    Destination, "destination";
    /// The message is shorter than its own header.
    Short, "short";
    /// The version is not that of this virtual router: use the same on all nodes.
    Version, "version";
    /// The message is not an advert; there is no other type.
    Type, "type";
    /// The virtual router is not one of this interface; another group shares the network.
    OtherVrid, "other_vrid";
    /// The message announces no address.
    NoAddress, "no_address";
    /// The message is longer or shorter than its number of addresses makes it.
    Length, "length";
    /// The message carries a trailer with an HMAC, and no key is configured here.
    TrailerUnexpected, "trailer_unexpected";
    /// The checksum is wrong, in both forms where two are in use: damage on the way, or a broken sender.
    Checksum, "checksum";
    /// The advertisement interval is zero.
    IntervalZero, "interval_zero";
    /// The advertisement interval is not the one configured here, as version 2 demands.
    IntervalDiffers, "interval_differs";
    /// The first IPv6 address is not link-local.
    FirstNotLinkLocal, "first_not_link_local";
    /// The addresses are not the ones configured here, as version 2 demands of all but their owner.
    AddressesDiffer, "addresses_differ";
    /// The kind of authentication is not the one configured here.
    AuthenticationKind, "authentication_kind";
    /// The password is not the one configured here.
    Password, "password";
    /// An HMAC is demanded here, and there is none.
    TrailerMissing, "trailer_missing";
    /// The trailer with the HMAC is of an unknown form.
    TrailerMalformed, "trailer_malformed";
    /// The HMAC was made with a key that is not configured here.
    KeyUnknown, "key_unknown";
    /// The stamp is too far from this node's clock: an old packet played again, or clocks that are not set.
    Stale, "stale";
    /// The HMAC is wrong: another key under the same number, or a forged packet.
    Hmac, "hmac";
    /// The stamp is not later than the last one of that sender: a packet played again.
    Replayed, "replayed";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_has_its_own_place_label_and_meaning() {
        for (place, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(refusal.index(), place);
            assert!(refusal.meaning().ends_with('.'), "{refusal:?}");
        }
        let labels: BTreeSet<_> = Refusal::ALL.iter().map(|r| r.label()).collect();
        assert_eq!(labels.len(), Refusal::ALL.len());
    }
}
