//! What is measured.

use lb_common::{pool::ForwardMode, protocol::Transport};

use super::{
    frames::{Kind, Protocols},
    harness::Order,
};

/// The table that a node with default limits has.
const DEFAULT_TABLE: u32 = lb_common::limits::DEFAULT_MAX_FLOWS;
/// A table that a million flows fill to a half.
const LARGE_TABLE: u32 = 1 << 21;
const MILLION: u32 = 1_000_000;
const NEVER_REPEATING: u32 = u32::MAX;

/// One figure.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// What `--case` calls it.
    pub(super) name: String,
    /// What a reader of the table needs to know.
    pub(super) meaning: &'static str,
    /// What has to be there first.
    pub(super) setting: Setting,
    /// What is sent.
    pub(super) kind: Kind,
    /// In which order.
    pub(super) order: Order,
    /// Of how many flows.
    pub(super) flows: u32,
}

/// What has to be there before measuring. Cases with the same setting share it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Setting {
    pub(super) protocols: Protocols,
    /// Flows the table has room for.
    pub(super) max_flows: u32,
    /// How the table is.
    pub(super) table: Table,
    /// Whether flows are noted for another balancer.
    pub(super) noting: bool,
    /// How members are reached.
    pub(super) mode: ForwardMode,
    /// Whether they have addresses of IPv6.
    pub(super) ipv6_members: bool,
}

impl Setting {
    /// Whether frames become longer.
    pub(super) fn grows(&self) -> bool {
        matches!(self.mode, ForwardMode::Ipip | ForwardMode::Gue)
    }

    /// What members' addresses are made of.
    pub(super) fn member_protocols(&self) -> Protocols {
        Protocols { ipv6: self.ipv6_members, ..self.protocols }
    }

    /// New flows that were sent to fill the table.
    pub(super) fn flood(&self) -> u32 {
        if self.table == Table::Flooded { self.max_flows * 4 } else { 0 }
    }
}

/// How the flow table is before measuring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Table {
    /// It holds nothing.
    Empty,
    /// It holds so many confirmed flows.
    Confirmed(u32),
    /// It holds the flows of the packets that come next, which members have
    /// answered and clients have not acknowledged.
    Answered,
    /// It has seen four times as many new flows as it has room for, and none
    /// was ever answered.
    Flooded,
}

/// Everything that is measured, in the order of the table.
pub(super) fn all() -> Vec<Case> {
    [false, true].into_iter().flat_map(of_family).collect()
}

fn of_family(ipv6: bool) -> Vec<Case> {
    let family = if ipv6 { "v6" } else { "v4" };
    let case = |transport, table, name: &str, kind, order, flows, meaning| {
        let max_flows = match table {
            Table::Confirmed(MILLION) | Table::Empty | Table::Answered => LARGE_TABLE,
            Table::Confirmed(_) | Table::Flooded => DEFAULT_TABLE,
        };
        Case {
            name: format!("{family}-{name}"),
            meaning,
            setting: Setting {
                protocols: Protocols { ipv6, transport },
                max_flows,
                table,
                noting: false,
                mode: ForwardMode::Nat,
                ipv6_members: ipv6,
            },
            kind,
            order,
            flows,
        }
    };
    use Kind::{ClosedPort, Opening, Reply, Request, Stranger};
    use Order::{Listed, Random, Sequence};
    use Table::{Answered, Confirmed, Empty, Flooded};
    use Transport::{Tcp, Udp};
    let by = |mode, ipv6_members, case: Case| {
        // No flow is remembered, so none has to be there.
        let setting = Setting { mode, ipv6_members, table: Empty, max_flows: DEFAULT_TABLE, ..case.setting };
        Case { setting, ..case }
    };
    let direct = |mode: ForwardMode, ipv6_members, suffix: &str| {
        let name = |what| format!("{}{suffix}-{what}", mode.name());
        [
            case(Tcp, Empty, &name("1"), Request, Sequence, 1, "client to member, one flow"),
            case(Tcp, Empty, &name("1m"), Request, Random, MILLION, "client to member, a million flows at random"),
            case(Tcp, Empty, &name("flood"), Opening, Sequence, NEVER_REPEATING, "every packet a new flow"),
        ]
        .map(|case| by(mode, ipv6_members, case))
    };
    let noted = |case: Case| Case { setting: Setting { noting: true, ..case.setting }, ..case };
    let mut cases = vec![
        case(Tcp, Confirmed(1), "tcp-hit-1", Request, Sequence, 1, "client to member, one flow"),
        case(Tcp, Confirmed(1), "tcp-reply-1", Reply, Listed, 1, "member to client, one flow"),
        case(Tcp, Confirmed(1), "not-ours", Stranger, Sequence, 1, "to no VIP: passed"),
        case(Tcp, Confirmed(1), "no-listener", ClosedPort, Sequence, 1, "to a closed port of a VIP: dropped"),
        case(Udp, Confirmed(1), "udp-hit-1", Request, Sequence, 1, "client to member, one flow"),
        case(Udp, Confirmed(1), "udp-reply-1", Reply, Listed, 1, "member to client, one flow"),
        case(
            Tcp,
            Confirmed(10_000),
            "tcp-hit-10k",
            Request,
            Random,
            10_000,
            "client to member, 10,000 flows at random",
        ),
        case(
            Tcp,
            Confirmed(10_000),
            "tcp-reply-10k",
            Reply,
            Listed,
            10_000,
            "member to client, 10,000 flows at random",
        ),
        case(
            Tcp,
            Confirmed(MILLION),
            "tcp-hit-1m",
            Request,
            Random,
            MILLION,
            "client to member, a million flows at random",
        ),
        case(
            Tcp,
            Confirmed(MILLION),
            "tcp-reply-1m",
            Reply,
            Listed,
            MILLION,
            "member to client, a million flows at random",
        ),
        case(Tcp, Empty, "tcp-new", Opening, Sequence, NEVER_REPEATING, "every packet a new flow, table filling up"),
        case(
            Tcp,
            Flooded,
            "tcp-flood",
            Opening,
            Sequence,
            NEVER_REPEATING,
            "every packet a new flow, table full of unconfirmed ones",
        ),
        case(Tcp, Answered, "tcp-confirm", Request, Sequence, NEVER_REPEATING, "every packet confirms its flow"),
        noted(case(
            Tcp,
            Answered,
            "tcp-confirm-noted",
            Request,
            Sequence,
            NEVER_REPEATING,
            "the same, and notes it for another balancer",
        )),
    ];
    cases.extend(direct(ForwardMode::Dsr, ipv6, ""));
    cases.extend(direct(ForwardMode::Ipip, ipv6, ""));
    cases.extend(direct(ForwardMode::Ipip, !ipv6, if ipv6 { "-to-v4" } else { "-to-v6" }));
    cases.extend(direct(ForwardMode::Gue, ipv6, ""));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_cases_of_one_setting_are_neighbours() {
        let cases = all();
        for (index, case) in cases.iter().enumerate() {
            assert!(cases[..index].iter().all(|c| c.name != case.name), "{} is there twice", case.name);
            let first = cases.iter().position(|c| c.setting == case.setting);
            let between = &cases[first.unwrap_or(index)..index];
            assert!(between.iter().all(|c| c.setting == case.setting), "{} is away from its like", case.name);
        }
    }
}
