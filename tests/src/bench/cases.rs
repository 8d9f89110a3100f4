//! What is measured.

use lb_common::{pool::ForwardMode, protocol::Transport};

use super::{
    floor::Floor,
    frames::{Kind, Protocols},
    harness::{Order, Target},
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
    /// What is measured in the same rounds. The first of the bare balancers does what
    /// the data path has to do, with as little as it can be done with.
    pub(super) floors: &'static [Floor],
}

impl Case {
    /// Whether anything is measured beside the data path.
    pub(super) fn is_compared(&self) -> bool {
        self.setting.uncounted || !self.floors.is_empty()
    }

    /// What is run in a pass over packets of this case, the data path among them.
    /// Every other pass has the opposite order where both use packets up, so that
    /// neither always comes first.
    pub(super) fn targets(&self, turn: u32) -> Vec<Target> {
        let floors = self.floors.iter().map(|floor| Target::Floor(*floor));
        let both = match (self.setting.uncounted, turn % 2) {
            (false, _) => vec![Target::Krater],
            (true, 0) => vec![Target::Uncounted, Target::Krater],
            (true, _) => vec![Target::Krater, Target::Uncounted],
        };
        floors.chain(both).collect()
    }
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
    /// Whether the same without counters is measured beside it.
    pub(super) uncounted: bool,
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
    let paths: Vec<Case> = [false, true].into_iter().flat_map(of_family).collect();
    let counters: Vec<Case> = paths.iter().filter_map(without_counters).collect();
    paths.into_iter().chain(counters).collect()
}

/// The cases whose counters' cost is measured: one of each way a packet is counted.
const COUNTED: [&str; 8] = [
    "v4-tcp-hit-1",
    "v4-tcp-reply-1",
    "v4-no-listener",
    "v4-tcp-hit-10k",
    "v4-dsr-1",
    "v4-dsr-1m",
    "v4-ipip-1",
    "v4-ipip-1m",
];

/// The same case beside the data path that counts nothing.
fn without_counters(case: &Case) -> Option<Case> {
    COUNTED.contains(&case.name.as_str()).then(|| Case {
        name: format!("counters-{}", case.name),
        setting: Setting { uncounted: true, ..case.setting },
        floors: &[],
        ..case.clone()
    })
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
                uncounted: false,
            },
            kind,
            order,
            flows,
            floors: &[],
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
        .map(|case| Case { floors: floors(mode, ipv6, ipv6_members), ..by(mode, ipv6_members, case) })
    };
    let noted = |case: Case| Case { setting: Setting { noting: true, ..case.setting }, ..case };
    let mut cases = vec![
        case(Tcp, Confirmed(1), "tcp-hit-1", Request, Sequence, 1, "client to member, one flow"),
        case(Tcp, Confirmed(1), "tcp-reply-1", Reply, Listed, 1, "member to client, one flow"),
        Case {
            floors: &[Floor::Ipip],
            ..case(Tcp, Confirmed(1), "not-ours", Stranger, Sequence, 1, "to no VIP: passed")
        },
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

/// What is measured beside packets to members that are reached directly.
fn floors(mode: ForwardMode, ipv6: bool, ipv6_members: bool) -> &'static [Floor] {
    match mode {
        ForwardMode::Dsr => &[Floor::Dsr],
        ForwardMode::Ipip if ipv6 != ipv6_members => &[],
        // Its flows have keys that are too short for IPv6.
        ForwardMode::Ipip if ipv6 => &[Floor::Ipip, Floor::Constant],
        ForwardMode::Ipip => &[Floor::Ipip, Floor::Constant, Floor::Lru],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_floor_of_a_case_does_what_its_mode_does() {
        for case in all().iter().filter(|case| !case.floors.is_empty()) {
            let expected = match (case.kind, case.setting.mode) {
                (Kind::Stranger, _) | (_, ForwardMode::Ipip) => Floor::Ipip,
                _ => Floor::Dsr,
            };
            assert_eq!(case.floors[0], expected, "{}", case.name);
        }
        let with = all().iter().filter(|case| !case.floors.is_empty()).count();
        assert_eq!(with, 2 * (1 + 3 + 3), "not-ours, dsr and ipip of both families");
    }

    #[test]
    fn every_case_of_counters_is_there_and_takes_turns_with_its_rival() {
        let cases = all();
        for name in COUNTED {
            let name = format!("counters-{name}");
            assert_eq!(cases.iter().filter(|case| case.name == name).count(), 1, "{name}");
        }
        let Some(case) = cases.iter().find(|case| case.setting.uncounted) else { unreachable!() };
        assert!(case.is_compared());
        assert_eq!(case.targets(0), [Target::Uncounted, Target::Krater]);
        assert_eq!(case.targets(1), [Target::Krater, Target::Uncounted]);
    }

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
