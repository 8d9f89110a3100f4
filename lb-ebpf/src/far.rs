//! Calls to what is not on the way of most packets.
//!
//! In the kernel each of them is a global function of its own: the verifier goes
//! through it once and on its own terms, where code that is a part of its callers
//! is gone through once for each way that leads to it, and its stack is its own.
//! A call costs some ten nanoseconds, so none is on the way of a packet of an
//! established flow. On the host they are calls like any other.
//!
//! Arguments and results are words, since that is what such a function can take.
//! [`Facts`], [`Choice`] and [`Verdict::to_word`] are those that are more than a
//! number.

use lb_common::{
    drop_reason::DropReason, listener::ListenerEntry, pool::ForwardMode, protocol::Transport, vip::VipEntry,
};

use crate::{
    admission,
    client::{self, Arrival},
    control, deliver, dnat, encap,
    family::{self, Family, Fragment, Network, V4, V6},
    flow, fragment, guard, icmp,
    ingress::Ingress,
    member, mss,
    packet::Packet,
    placement::Spot,
    refuse, rewrite, sctp, select,
    tables::{Tables, Verdict},
    too_big, trace,
    transport::Segment,
    vlan,
};

/// Who is called. Each says what its four arguments are, and its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Call {
    /// [`Arrival`] → [`Choice`]: a packet to a `nat` pool whose flow is not
    /// plainly going on.
    Attend4 = 0,
    /// The same for IPv6.
    Attend6,
    /// [`Arrival`] → [`Choice`]: the same packet's flow is none that goes on.
    Begin4,
    /// The same for IPv6.
    Begin6,
    /// [`Arrival`] → spot of the record of the packet's flow, or 0.
    FindRecord4,
    /// The same for IPv6.
    FindRecord6,
    /// [`Arrival`], the spot above VIP and transport → [`Choice`]: a packet whose
    /// member its pool's table alone does not tell.
    Choose4,
    /// The same for IPv6.
    Choose6,
    /// [`Arrival`] → [`Choice`]: the same packet's flow is a new one.
    ChooseNew4,
    /// The same for IPv6.
    ChooseNew6,
    /// Facts, choice, listener's id → [`Choice`]: where the flow goes is recorded.
    WriteRecord4,
    /// The same for IPv6.
    WriteRecord6,
    /// Facts, index of the return entry, its control word, VIP and transport → 0:
    /// a member's packet says something about its flow.
    Heard4,
    /// The same for IPv6.
    Heard6,
    /// Facts, whose, ingress, claim → [`Choice`]: a flow is opened. See [`flow`].
    Open4,
    /// The same for IPv6.
    Open6,
    /// Facts, whose → claim: a new flow's return entry. See [`flow`].
    ClaimBack4,
    /// The same for IPv6.
    ClaimBack6,
    /// Facts, listener's id → claim: a new flow's forward entry.
    ClaimForward4,
    /// The same for IPv6.
    ClaimForward6,
    /// [`Arrival`] → [`Choice`]: the member of a new flow is drawn.
    Draw4,
    /// The same for IPv6.
    Draw6,
    /// Facts, choice, listener's entry, whether a flow of it goes on → 0: which
    /// member a client has is recorded.
    WriteSession4,
    /// The same for IPv6.
    WriteSession6,
    /// Listener's entry, source's hash → 0 or a reason: may it open a flow?
    Admit,
    /// Facts, choice, listener's entry, ingress → verdict: sends a packet to a member
    /// that is reached directly.
    Direct4,
    /// The same for IPv6.
    Direct6,
    /// Facts, reason → verdict.
    Refuse4,
    /// The same for IPv6.
    Refuse6,
    /// Facts, VIP's entry, ingress → verdict, or what an error is about: an ICMP
    /// message to a VIP. See [`icmp`].
    Icmp4,
    /// The same for IPv6.
    Icmp6,
    /// Facts, what an error is about, VIP's entry → whom it concerns.
    IcmpFind4,
    /// The same for IPv6.
    IcmpFind6,
    /// Facts, what an error is about, the return entry and its VIP, ingress →
    /// verdict: it concerns a client.
    IcmpToClient4,
    /// The same for IPv6.
    IcmpToClient6,
    /// Facts, what an error is about, choice, ingress → verdict: it concerns a
    /// member that knows other addresses than the client.
    IcmpToMember4,
    /// The same for IPv6.
    IcmpToMember6,
    /// Facts, what an error is about, VIP's entry, ingress → verdict, or choice: it
    /// concerns the member that the pool's table has for a flow.
    IcmpByTable4,
    /// The same for IPv6.
    IcmpByTable6,
    /// Facts, ingress → verdict: a fragment without ports.
    Later4,
    /// The same for IPv6.
    Later6,
    /// Facts, choice, listener's entry, spread → 0: the first fragment of a
    /// datagram to a member.
    Remember4,
    /// The same for IPv6.
    Remember6,
    /// Facts, index of the return entry, its control word, listener's id → 0:
    /// the first fragment of one to a client.
    RememberBack4,
    /// The same for IPv6.
    RememberBack6,
    /// Facts, largest packet → verdict: a packet does not fit.
    TooBig4,
    /// The same for IPv6.
    TooBig6,
    /// Facts, member's id, spread, mode → 1 for done, or a reason: into a packet
    /// of IPv6 or UDP.
    Wrap4,
    /// The same for a packet of IPv6.
    Wrap6,
    /// Offset and length, place of the checksum, sum of the pseudo header →
    /// checksum, or a reason above: a checksum is made.
    Complete,
    /// Offset of a SYN, largest MSS or 0, mode → 0: its MSS is lowered.
    LowerMss,
    /// Facts, ports → 0: SCTP ports change, and the checksum with them.
    SctpPorts,
    /// → [`Facts`], or a reason above them: what is behind IPv6's header.
    Extensions,
    /// Ingress → verdict: an ARP message.
    Arp,
    /// Ingress → verdict: a neighbour solicitation.
    Neighbour,
    /// → verdict: a VRRP advert.
    Advert4,
    /// The same for IPv6.
    Advert6,
    /// Ingress → whose packet, or 0: one for no VIP that may be a `dnat` member's.
    DnatOrigin4,
    /// The same for IPv6.
    DnatOrigin6,
    /// Whose packet → verdict: that packet is translated.
    DnatBack4,
    /// The same for IPv6.
    DnatBack6,
    /// Ingress → ingress, or 0: takes VLAN tags off a frame that may be ours.
    Untag,
    /// Tags → 1, or 0 where there is no room: puts them on.
    Tag,
    /// Ingress → 1, or 0 where there is no room: puts those on that were taken off.
    Retag,
    /// Verdict → 0: traces a packet.
    Trace,
    /// Ingress → 0: keeps what is needed to trace a packet later.
    TraceBegin,
}

/// What is known of a packet's headers in one word: protocol (bits 0–7), offset
/// of the transport header (8–21), length of the message (22–37), which fragment
/// it is (38–39), TCP flags (40–47), transport code (48–49). Above them a drop
/// reason, where headers could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Facts(pub u64);

impl Facts {
    /// Of a network header.
    #[inline(always)]
    #[must_use]
    pub const fn of_network(network: &Network) -> Self {
        Self(
            network.protocol as u64
                | (network.offset as u64 & 0x3fff) << 8
                | (network.length as u64 & 0xffff) << 22
                | (network.fragment as u64) << 38,
        )
    }

    /// Of both headers.
    #[inline(always)]
    #[must_use]
    pub const fn of(network: &Network, segment: &Segment) -> Self {
        Self(Self::of_network(network).0 | (segment.flags() as u64) << 40 | (segment.code() as u64) << 48)
    }

    /// None, for a reason.
    #[inline(always)]
    #[must_use]
    pub const fn failed(reason: DropReason) -> Self {
        Self((reason as u64) << 56)
    }

    /// The network header.
    ///
    /// # Errors
    /// The reason it could not be read.
    #[inline(always)]
    pub const fn network(self) -> Result<Network, DropReason> {
        if self.0 >> 56 != 0 {
            return Err(DropReason::from_number((self.0 >> 56) as u8));
        }
        Ok(self.whole_network())
    }

    #[inline(always)]
    const fn whole_network(self) -> Network {
        Network {
            protocol: self.0 as u8,
            offset: (self.0 >> 8) as usize & 0x3fff,
            length: (self.0 >> 22) as usize & 0xffff,
            fragment: Fragment::from_bits(self.0 >> 38),
        }
    }

    /// Both headers.
    #[inline(always)]
    #[must_use]
    pub const fn headers(self) -> (Network, Segment) {
        let network = self.whole_network();
        (network, Segment::known(network.offset, network.protocol, (self.0 >> 40) as u8, (self.0 >> 48) as u8 & 3))
    }
}

/// Which member a packet goes to and how, or why to none: member id (bits 0–15),
/// SNAT port (16–31), mode (32–34), reason (40–47, zero for a choice), and whether
/// the flow is to be opened first (48).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Choice(pub u64);

impl Choice {
    /// A member; `snat_port` is zero in every mode but `nat`.
    #[inline(always)]
    #[must_use]
    pub const fn member(member: u16, snat_port: u16, mode: ForwardMode) -> Self {
        Self(member as u64 | (snat_port as u64) << 16 | (mode as u64) << 32)
    }

    /// The flow's member is to be drawn.
    pub const TO_DRAW: Self = Self(1 << 54);

    /// Whether the flow's member is to be drawn, whatever else.
    #[inline(always)]
    #[must_use]
    pub const fn is_to_be_drawn(self) -> bool {
        self.0 >> 54 & 1 != 0
    }

    /// The same for a client that is to be recorded: it had no member before, or a
    /// flow of it goes on for the first time.
    #[inline(always)]
    #[must_use]
    pub const fn of_client_to_record(self) -> Self {
        Self(self.0 | 1 << 55)
    }

    /// Whether the client is to be recorded, if its pool records clients.
    #[inline(always)]
    #[must_use]
    pub const fn is_of_client_to_record(self) -> bool {
        self.0 >> 55 & 1 != 0
    }

    /// The same for a flow that begins.
    #[inline(always)]
    #[must_use]
    pub const fn of_new_flow(self) -> Self {
        Self(self.0 | 1 << 56)
    }

    /// Whether the flow begins.
    #[inline(always)]
    #[must_use]
    pub const fn is_new(self) -> bool {
        self.0 >> 56 & 1 != 0
    }

    /// The same for a flow that was there before its pool's table changed.
    #[inline(always)]
    #[must_use]
    pub const fn of_moved_flow(self) -> Self {
        Self(self.0 | 1 << 57)
    }

    /// Whether the flow was there before its pool's table changed.
    #[inline(always)]
    #[must_use]
    pub const fn is_moved(self) -> bool {
        self.0 >> 57 & 1 != 0
    }

    /// The flow is a new one: its member is to be picked.
    pub const TO_PICK: Self = Self(1 << 51);

    /// The same choice, to be recorded, and with `counted` in the live counts.
    #[inline(always)]
    #[must_use]
    pub const fn to_be_recorded(self, counted: bool) -> Self {
        Self(self.0 | 1 << 52 | (counted as u64) << 53)
    }

    /// Whether it is to be recorded.
    #[inline(always)]
    #[must_use]
    pub const fn is_to_be_recorded(self) -> bool {
        self.0 >> 52 & 1 != 0
    }

    /// Whether the record is to be in the live counts.
    #[inline(always)]
    #[must_use]
    pub const fn is_counted(self) -> bool {
        self.0 >> 53 & 1 != 0
    }

    /// The flow is one of `nat`: it is to be attended to.
    pub const TO_ATTEND: Self = Self(1 << 50);

    /// No flow goes on.
    pub const UNKNOWN: Self = Self(1 << 49);

    /// A member that a flow is to be opened to.
    #[inline(always)]
    #[must_use]
    pub const fn to_open(member: u16) -> Self {
        Self(member as u64 | 1 << 48)
    }

    /// Whether a flow is to be opened.
    #[inline(always)]
    #[must_use]
    pub const fn is_to_be_opened(self) -> bool {
        self.0 >> 48 & 1 != 0
    }

    /// Nobody.
    #[inline(always)]
    #[must_use]
    pub const fn refused(reason: DropReason) -> Self {
        Self((reason as u64) << 40)
    }

    /// The number of the reason why nobody; zero for a choice.
    #[inline(always)]
    #[must_use]
    pub const fn reason_number(self) -> u64 {
        self.0 >> 40 & 0xff
    }

    /// Why nobody, if so.
    #[inline(always)]
    #[must_use]
    pub const fn reason(self) -> Option<DropReason> {
        let number = (self.0 >> 40) as u8;
        if number == 0 { None } else { Some(DropReason::from_number(number)) }
    }

    /// The member's id.
    #[inline(always)]
    #[must_use]
    pub const fn id(self) -> u16 {
        self.0 as u16
    }

    /// The SNAT port, host order.
    #[inline(always)]
    #[must_use]
    pub const fn snat_port(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// How the member is reached.
    #[inline(always)]
    #[must_use]
    pub const fn mode(self) -> ForwardMode {
        ForwardMode::from_bits(self.0 >> 32)
    }
}

/// What is known of a packet when its member is.
#[inline(always)]
fn arrived([facts, listener, ingress]: [u64; 3]) -> Arrival {
    Arrival::from_words([facts, listener, ingress, 0])
}

/// Carries a call out.
#[inline(always)]
pub fn run<T: Tables>(call: Call, packet: &mut Packet<'_>, tables: &T, arguments: [u64; 4]) -> u64 {
    let [a, b, c, d] = arguments;
    let facts = Facts(a);
    match call {
        Call::Attend4 => client::attend::<V4, T>(packet, tables, &Arrival::from_words(arguments)).0,
        Call::Attend6 => client::attend::<V6, T>(packet, tables, &Arrival::from_words(arguments)).0,
        Call::Begin4 => client::begin::<V4, T>(packet, tables, &Arrival::from_words(arguments)).0,
        Call::Begin6 => client::begin::<V6, T>(packet, tables, &Arrival::from_words(arguments)).0,
        Call::FindRecord4 => select::find_record::<V4, T>(packet, tables, &Arrival::from_words(arguments)),
        Call::FindRecord6 => select::find_record::<V6, T>(packet, tables, &Arrival::from_words(arguments)),
        Call::Choose4 => select::choose::<V4, T>(packet, tables, &Arrival::from_words(arguments), Spot::above(d)).0,
        Call::Choose6 => select::choose::<V6, T>(packet, tables, &Arrival::from_words(arguments), Spot::above(d)).0,
        Call::ChooseNew4 => select::choose_new::<V4, T>(packet, tables, &Arrival::from_words(arguments)).0,
        Call::ChooseNew6 => select::choose_new::<V6, T>(packet, tables, &Arrival::from_words(arguments)).0,
        Call::WriteRecord4 => select::write_record::<V4, T>(packet, tables, facts, Choice(b), c as u16).0,
        Call::WriteRecord6 => select::write_record::<V6, T>(packet, tables, facts, Choice(b), c as u16).0,
        Call::Heard4 => member::heard::<V4, T>(packet, tables, facts, b as u32, c, d as u16),
        Call::Heard6 => member::heard::<V6, T>(packet, tables, facts, b as u32, c, d as u16),
        Call::Open4 => flow::open::<V4, T>(packet, tables, facts, b, Ingress(c), d).0,
        Call::Open6 => flow::open::<V6, T>(packet, tables, facts, b, Ingress(c), d).0,
        Call::ClaimBack4 => flow::claim_back_far::<V4, T>(packet, tables, facts, b),
        Call::ClaimBack6 => flow::claim_back_far::<V6, T>(packet, tables, facts, b),
        Call::ClaimForward4 => flow::claim_forward_far::<V4, T>(packet, tables, facts, b as u16),
        Call::ClaimForward6 => flow::claim_forward_far::<V6, T>(packet, tables, facts, b as u16),
        Call::Draw4 => select::draw::<V4, T>(packet, tables, &Arrival::from_words(arguments)).0,
        Call::Draw6 => select::draw::<V6, T>(packet, tables, &Arrival::from_words(arguments)).0,
        Call::WriteSession4 => {
            select::write_session::<V4, T>(packet, tables, facts, Choice(b), ListenerEntry(c), d != 0)
        }
        Call::WriteSession6 => {
            select::write_session::<V6, T>(packet, tables, facts, Choice(b), ListenerEntry(c), d != 0)
        }
        Call::Admit => admission::by_numbers(tables, ListenerEntry(a), b),
        Call::Direct4 => deliver::directly_far::<V4, T>(packet, tables, &arrived([a, c, d]), Choice(b)).to_word(),
        Call::Direct6 => deliver::directly_far::<V6, T>(packet, tables, &arrived([a, c, d]), Choice(b)).to_word(),
        Call::Refuse4 => refuse::refuse::<V4, T>(packet, tables, facts, DropReason::from_number(b as u8)).to_word(),
        Call::Refuse6 => refuse::refuse::<V6, T>(packet, tables, facts, DropReason::from_number(b as u8)).to_word(),
        Call::Icmp4 => icmp::message::<V4, T>(packet, tables, facts, VipEntry(b), Ingress(c)),
        Call::Icmp6 => icmp::message::<V6, T>(packet, tables, facts, VipEntry(b), Ingress(c)),
        Call::IcmpFind4 => icmp::find::<V4, T>(packet, tables, facts, Facts(b), VipEntry(c)),
        Call::IcmpFind6 => icmp::find::<V6, T>(packet, tables, facts, Facts(b), VipEntry(c)),
        Call::IcmpToClient4 => icmp::to_client::<V4, T>(packet, tables, facts, Facts(b), c, Ingress(d)).to_word(),
        Call::IcmpToClient6 => icmp::to_client::<V6, T>(packet, tables, facts, Facts(b), c, Ingress(d)).to_word(),
        Call::IcmpToMember4 => {
            icmp::to_member::<V4, T>(packet, tables, facts, Facts(b), Choice(c), Ingress(d)).to_word()
        }
        Call::IcmpToMember6 => {
            icmp::to_member::<V6, T>(packet, tables, facts, Facts(b), Choice(c), Ingress(d)).to_word()
        }
        Call::IcmpByTable4 => icmp::by_table::<V4, T>(packet, tables, facts, Facts(b), VipEntry(c), Ingress(d)),
        Call::IcmpByTable6 => icmp::by_table::<V6, T>(packet, tables, facts, Facts(b), VipEntry(c), Ingress(d)),
        Call::Later4 => fragment::later::<V4, T>(packet, tables, facts, Ingress(b)).to_word(),
        Call::Later6 => fragment::later::<V6, T>(packet, tables, facts, Ingress(b)).to_word(),
        Call::Remember4 => fragment::remember::<V4, T>(packet, tables, facts, Choice(b), ListenerEntry(c), d as u32),
        Call::Remember6 => fragment::remember::<V6, T>(packet, tables, facts, Choice(b), ListenerEntry(c), d as u32),
        Call::RememberBack4 => fragment::remember_back::<V4, T>(packet, tables, facts, b as u32, c, d as u16),
        Call::RememberBack6 => fragment::remember_back::<V6, T>(packet, tables, facts, b as u32, c, d as u16),
        Call::TooBig4 => too_big::answer::<V4, T>(packet, tables, facts, b as u16).to_word(),
        Call::TooBig6 => too_big::answer::<V6, T>(packet, tables, facts, b as u16).to_word(),
        Call::Wrap4 => encap::wrap_far::<V4, T>(packet, tables, facts, b as u16, c as u32, ForwardMode::from_bits(d)),
        Call::Wrap6 => encap::wrap_far::<V6, T>(packet, tables, facts, b as u16, c as u32, ForwardMode::from_bits(d)),
        Call::Complete => rewrite::complete(packet, a, b as usize, c),
        Call::LowerMss => mss::lower(packet, a as usize, b as u16, ForwardMode::from_bits(c)),
        Call::SctpPorts => sctp::change_ports(packet, facts, b),
        Call::Extensions => family::extensions(packet).0,
        Call::Arp => control::arp(packet, tables, Ingress(a)).to_word(),
        Call::Neighbour => control::neighbour(packet, tables, Ingress(a)).to_word(),
        Call::Advert4 => guard::advert::<V4, T>(packet, tables).to_word(),
        Call::Advert6 => guard::advert::<V6, T>(packet, tables).to_word(),
        Call::DnatOrigin4 => dnat::origin::<V4, T>(packet, tables, Ingress(a)),
        Call::DnatBack4 => dnat::back::<V4, T>(packet, tables, dnat::Origin(a)).to_word(),
        Call::DnatOrigin6 => dnat::origin::<V6, T>(packet, tables, Ingress(a)),
        Call::DnatBack6 => dnat::back::<V6, T>(packet, tables, dnat::Origin(a)).to_word(),
        Call::Untag => vlan::untag(packet, tables, Ingress(a)).map_or(0, |ingress| ingress.0),
        Call::Tag => u64::from(vlan::tag(packet, lb_common::port::Tags(a))),
        Call::Retag => u64::from(vlan::retag(packet, tables, Ingress(a))),
        Call::Trace => trace::end(tables, Verdict::from_word(a)),
        Call::TraceBegin => trace::begin(packet, tables, Ingress(a)),
    }
}

/// The two calls of a pair, one for each family.
#[inline(always)]
#[must_use]
pub const fn of_family<F: Family>(v4: Call, v6: Call) -> Call {
    if F::IS_V6 { v6 } else { v4 }
}

impl Arrival {
    /// As the arguments of a call.
    #[inline(always)]
    #[must_use]
    pub const fn to_words(&self) -> [u64; 4] {
        [Facts::of(&self.network, &self.segment).0, self.listener.0, self.ingress.0, self.vip as u64]
    }

    /// From those.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; 4]) -> Self {
        let (network, segment) = Facts(words[0]).headers();
        Self { network, segment, listener: ListenerEntry(words[1]), ingress: Ingress(words[2]), vip: words[3] as u16 }
    }
}

const _: () = assert!(Transport::Sctp.code() <= 3);
