//! Any bytes become a history of a balancer's flow table: flows that packets open,
//! confirm and end, flows of the other balancer, time that passes, sweeps, and
//! listeners that go. [`telling`](crate::packets::telling) says what must hold.
//!
//! The first byte chooses the size of the tables. The smallest have room for a few
//! flows, so that most of what happens is about places that others have.

use std::{cell::RefCell, collections::BTreeMap};

use lb_common::{flow::Stage, mac::Mac, protocol::Transport};
use lb_user::dataplane::exchange::SharedFlow;

use super::bytes::Bytes;
use crate::packets::{
    pair::HIGH_PORT,
    scene::{Kind, OTHER_ROUTER, ROUTER, SNAT_PORTS, Version},
    spec::{Spec, flags},
    telling::{Crowd, Event, FEW},
};

/// Events of one input.
const MOST_EVENTS: usize = 80;

/// Sizes of the tables, as [`Crowd::new`] wants them.
const SIZES: [Option<[u32; 3]>; 4] = [Some([1, 3, 3]), Some([1, 3, 15]), Some([3, 7, 31]), Some([15, 31, 127])];

const STAGES: [Stage; 8] = [
    Stage::Established,
    Stage::Established,
    Stage::Established,
    Stage::New,
    Stage::Answered,
    Stage::Closing,
    Stage::Reset,
    Stage::Free,
];

thread_local! {
    static CROWDS: RefCell<BTreeMap<usize, Crowd>> = const { RefCell::new(BTreeMap::new()) };
}

/// Does what the bytes say.
///
/// # Panics
/// If something does not hold; that is what it is for.
pub fn run(data: &[u8]) {
    let mut input = Bytes(data);
    let size = usize::from(input.byte()) % SIZES.len();
    CROWDS.with_borrow_mut(|crowds| {
        let crowd = crowds.entry(size).or_insert_with(|| Crowd::new(SIZES[size]));
        crowd.side.host.forget_flows();
        crowd.side.host.tables().jiffies.set(1 << 20);
        for _ in 0..MOST_EVENTS {
            if input.is_empty() {
                break;
            }
            let event = event(&mut input);
            crowd.happen(&event).unwrap_or_else(|e| panic!("{e}"));
        }
    });
}

fn event(input: &mut Bytes<'_>) -> Event {
    use flags::{ACK, FIN, PSH, RST, SYN};
    let first = input.byte();
    let detail = usize::from(first >> 3);
    match first & 7 {
        0 => Event::Told(record(input)),
        1 => {
            let stages = input.byte();
            let idle = u32::from(input.byte()) * 512;
            Event::Again(detail, STAGES[usize::from(stages & 7)], STAGES[usize::from(stages >> 3 & 7)], idle)
        }
        2 | 3 => Event::Asked(asked(input)),
        4 | 5 => Event::Answered(detail, input.choose(&[SYN | ACK, ACK, FIN | ACK, RST, PSH | ACK, SYN])),
        // What goes through whole tables is seldom, for it takes long.
        6 if detail == 0 => Event::Swept,
        6 => Event::Waited(input.choose(&[1, 2, 5, 7, 19, 21, 25, 59, 62, 70, 3500, 3700, 40_000])),
        _ if detail & 7 == 0 => Event::Reborn(Version::BOTH[detail >> 3 & 1], detail & 16 != 0),
        _ => Event::Asked(asked(input)),
    }
}

/// Family, VIP, client and its port from one byte.
fn ends(input: &mut Bytes<'_>) -> (Version, bool, u16, u16) {
    let first = input.byte();
    let version = Version::BOTH[usize::from(first & 1)];
    (version, first & 2 != 0, u16::from(first >> 2 & 7), 2000 + u16::from(first >> 5 & 3))
}

fn asked(input: &mut Bytes<'_>) -> Spec {
    use flags::{ACK, FIN, PSH, RST, SYN};
    let (version, standby, client, port) = ends(input);
    let what = input.byte();
    let vip = if standby { version.standby_vip() } else { version.vip() };
    let to = if what & 0x40 != 0 { HIGH_PORT } else { Kind::OneArm as u16 };
    let (from, to) = ((version.numbered_client(client), port), (vip, to));
    let flags = [SYN, ACK, FIN | ACK, RST, PSH | ACK, SYN | ACK, ACK, RST | ACK][usize::from(what & 7)];
    let router = if what & 0x80 != 0 { OTHER_ROUTER } else { ROUTER };
    let packet = if what & 0x20 == 0 { Spec::tcp(from, to, flags) } else { Spec::udp(from, to) };
    // What a member says is acknowledged, or something else is.
    packet.numbers(1, if what & 8 == 0 { 5001 } else { 9999 }).with(|s| s.from = router)
}

fn record(input: &mut Bytes<'_>) -> SharedFlow {
    let (version, standby, client, port) = ends(input);
    let (what, stages, odd) = (input.byte(), input.byte(), input.byte());
    let member = version.member(u16::from(what & 1));
    SharedFlow {
        transport: if what & 2 == 0 { Transport::Tcp } else { Transport::Udp },
        vip: match (odd, standby) {
            (1, _) => version.stranger(),
            (_, true) => version.standby_vip(),
            (_, false) => version.vip(),
        },
        listener_port: if what & 4 == 0 { Kind::OneArm as u16 } else { HIGH_PORT },
        client: if odd == 2 { version.vip() } else { version.numbered_client(client) },
        client_port: if odd == 3 { 0 } else { port },
        member: member.address,
        member_port: member.port + u16::from(odd == 4),
        snat_port: if odd == 5 { HIGH_PORT } else { SNAT_PORTS.0 + u16::from(what >> 3) % (FEW + u16::from(odd == 6)) },
        forward: STAGES[usize::from(stages & 7)],
        back: STAGES[usize::from(stages >> 3 & 7)],
        idle_millis: match stages >> 6 {
            0 => 0,
            1 => u32::from(input.byte()) * 64,
            2 => u32::from(input.byte()) * 16_384,
            _ => u32::from(input.word()) << 16,
        },
        last_hop: match odd {
            7 => Mac([1, 2, 3, 4, 5, input.byte()]),
            8 => Mac([0; 6]),
            9 => OTHER_ROUTER,
            _ => ROUTER,
        },
    }
}
