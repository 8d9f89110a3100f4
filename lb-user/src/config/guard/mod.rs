//! Who may open flows and how many, and where outer packets come from.
//!
//! What must not be here: how many networks there may be in all. That is the model's to say.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
};

use toml::de::DeValue;

use super::{
    mistake::quoted,
    reader::Reader,
    schema::{Field, Kind},
};
use crate::model::{AddressFlaw, Cidr};

pub(super) mod fields;

use fields::{ALLOWED_CIDRS, ENCAP_SOURCES, NEW_FLOWS_PER_SOURCE};

/// Where packets that carry others come from: a network of each family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EncapSources {
    v4: Cidr,
    v6: Cidr,
}

impl EncapSources {
    /// The networks; `None` unless the first is of IPv4 and the second of IPv6.
    #[must_use]
    pub const fn new(v4: Cidr, v6: Cidr) -> Option<Self> {
        if v4.is_ipv4() && !v6.is_ipv4() { Some(Self { v4, v6 }) } else { None }
    }

    /// The network of IPv4.
    #[must_use]
    pub const fn v4(self) -> Cidr {
        self.v4
    }

    /// The network of IPv6.
    #[must_use]
    pub const fn v6(self) -> Cidr {
        self.v6
    }
}

impl Default for EncapSources {
    /// Of IPv4 what Katran uses, private addresses; of IPv6 the prefix of packets to be
    /// discarded (RFC 6666), to which nobody answers.
    fn default() -> Self {
        Self {
            v4: Cidr::network_of(Ipv4Addr::new(172, 16, 0, 0).into(), 16),
            v6: Cidr::network_of(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0).into(), 64),
        }
    }
}

/// A limit of flows; -1 is none.
pub(super) fn limit(table: &Reader<'_>, field: &'static Field) -> Option<NonZeroU32> {
    let number: i64 = table.integer(field)?;
    if number == 0 {
        let text = "0 lets nobody in; write admin_state_up = false for that, or -1 for no limit";
        table.mistake(field.key, text.to_owned());
    }
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}

/// How many flows a source may open a second.
pub(super) fn new_flows_per_source(table: &Reader<'_>) -> Option<NonZeroU32> {
    table.integer(&NEW_FLOWS_PER_SOURCE).and_then(NonZeroU32::new)
}

/// From where a listener may be reached; those that are no networks, or not of the VIP's
/// family, are left out after a complaint.
pub(super) fn allowed_cidrs(table: &Reader<'_>, vip: Option<IpAddr>) -> Vec<Cidr> {
    let written = cidrs(table, &ALLOWED_CIDRS);
    if table.has(ALLOWED_CIDRS.key) && written.is_empty() && !table.is_wrong(&ALLOWED_CIDRS) {
        table.warning(ALLOWED_CIDRS.key, "it is empty, so that everybody is let in; name networks, or remove it");
    }
    let mut seen = HashSet::new();
    let mut allowed = Vec::new();
    for (line, cidr) in written {
        let flaw = match vip {
            _ if !seen.insert(cidr) => format!("{cidr} is there twice; remove one of the two"),
            Some(vip) if vip.is_ipv4() != cidr.is_ipv4() => {
                format!("{cidr} is not of the family of the VIP {vip}, so that no client comes from there; remove it")
            }
            _ => {
                allowed.push(cidr);
                continue;
            }
        };
        table.mistake_at(line, ALLOWED_CIDRS.key, flaw);
    }
    allowed
}

/// Where outer packets come from; `None` after a complaint.
pub(super) fn encap_sources(table: &Reader<'_>) -> Option<EncapSources> {
    let mut found: [Option<Cidr>; 2] = [None; 2];
    for (line, cidr) in cidrs(table, &ENCAP_SOURCES) {
        let of_family = &mut found[usize::from(!cidr.is_ipv4())];
        let flaw = match AddressFlaw::of(cidr.address()) {
            // 0.0.0.0/0 and ::/0, too.
            Some(flaw) => Some(format!("{cidr} begins with {flaw}; use a network that hosts can have")),
            None if of_family.is_some() => {
                Some(format!("{cidr} is the second one of its family; give one of IPv4 and one of IPv6"))
            }
            None => None,
        };
        match flaw {
            Some(flaw) => table.mistake_at(line, ENCAP_SOURCES.key, flaw),
            None => *of_family = Some(cidr),
        }
    }
    let default = EncapSources::default();
    let [v4, v6] = found;
    if table.is_wrong(&ENCAP_SOURCES) {
        return None;
    }
    EncapSources::new(v4.unwrap_or(default.v4), v6.unwrap_or(default.v6))
}

/// The networks of a list, each with its line; what is none is left out after a complaint.
fn cidrs(table: &Reader<'_>, field: &'static Field) -> Vec<(usize, Cidr)> {
    let Kind::Cidrs { max } = field.kind else { return Vec::new() };
    let Some(list) = table.list(field) else { return Vec::new() };
    if list.len() > max {
        table.mistake(field.key, format!("there are {}, and room for {max}; leave some out", list.len()));
        return Vec::new();
    }
    let mut cidrs = Vec::new();
    for (line, value) in list {
        let read = match value {
            DeValue::String(text) => text.parse::<Cidr>().map_err(|flaw| format!("{} {flaw}", quoted(text))),
            _ => Err(format!("a list of networks in quotes is wanted; write for example {}", field.example)),
        };
        match read {
            Ok(cidr) => cidrs.push((line, cidr)),
            Err(flaw) => table.mistake_at(line, field.key, flaw),
        }
    }
    cidrs
}

#[cfg(test)]
mod tests;
