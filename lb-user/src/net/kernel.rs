//! Questions to the kernel, each with an end: links, a routing decision, a
//! neighbour; and the one request, to make sure of a neighbour.

use std::{collections::BTreeMap, io, net::IpAddr, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _};
use lb_common::mac::Mac;
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder,
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
        link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
    },
};

use super::{
    Link, Links, PATIENCE, Task,
    neighbours::Report,
    picture::Route,
    resolve::{Missing, Place},
};

/// Questions on their way at once. Enough to keep the socket busy, few enough
/// for their answers to fit into its buffer.
const IN_FLIGHT: usize = 32;

/// What came instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The kernel refused.
    #[error("it refused")]
    Refused(#[source] io::Error),
    /// No answer came in time.
    #[error("it did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The socket is closed.
    #[error("the netlink socket was closed")]
    Closed,
    /// The answer is of another kind.
    #[error("it answered with something else: {0}")]
    Unexpected(String),
}

/// A socket to ask through.
#[derive(Debug)]
pub(super) struct Kernel {
    handle: Handle,
    _connection: Task,
}

impl Kernel {
    /// Opens a socket. It belongs to the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, _connection: Task::from(&tokio::spawn(connection)) })
    }

    /// Every link there is, with its addresses.
    pub(super) async fn links(&self) -> Result<Links, AskError> {
        let dump = self.handle.link().get().execute();
        let links = dump.try_filter_map(|message| async move { Ok(read_link(&message)) }).try_collect();
        let mut links: Links = in_time(async { links.await.map_err(AskError::from) }).await?;
        let dump = self.handle.address().get().execute();
        let addresses = dump.try_filter_map(|message| async move { Ok(read_address(&message)) }).try_collect();
        let addresses: Vec<(u32, IpAddr)> = in_time(async { addresses.await.map_err(AskError::from) }).await?;
        for (ifindex, address) in addresses {
            if let Some(link) = links.get_mut(&ifindex) {
                link.addresses.push(address);
            }
        }
        Ok(links)
    }

    /// Makes a link let frames for another unicast address in.
    pub(super) async fn admit_address(&self, ifindex: u32, mac: Mac) -> Result<(), AskError> {
        let add = self.handle.neighbours().add_bridge(ifindex, &mac.0).flags(NeighbourFlags::Own);
        match in_time(async { add.execute().await.map_err(AskError::from) }).await {
            // It was let in before.
            Err(AskError::Refused(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            added => added,
        }
    }

    /// Undoes [`Kernel::admit_address`].
    pub(super) async fn turn_away_address(&self, ifindex: u32, mac: Mac) -> Result<(), AskError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = ifindex;
        message.header.state = NeighbourState::Permanent;
        message.header.flags = NeighbourFlags::Own;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let delete = self.handle.neighbours().del(message);
        match in_time(async { delete.execute().await.map_err(AskError::from) }).await {
            Err(AskError::Refused(error))
                if [Some(libc::ENOENT), Some(libc::ENODEV)].contains(&error.raw_os_error()) =>
            {
                Ok(())
            }
            deleted => deleted,
        }
    }

    /// Makes a link let every multicast frame in.
    pub(super) async fn admit_multicast(&self, ifindex: u32) -> Result<(), AskError> {
        let link = LinkUnspec::new_with_index(ifindex).allmulticast(true).build();
        let set = self.handle.link().set(link).execute();
        in_time(async { set.await.map_err(AskError::from) }).await
    }

    /// The kernel's routing decision for each address.
    pub(super) async fn routes(&self, members: Vec<IpAddr>) -> Result<BTreeMap<IpAddr, Route>, AskError> {
        let asked = members.into_iter().map(|to| {
            let handle = self.handle.clone();
            async move { Ok((to, route(handle, to).await?)) }
        });
        futures_util::stream::iter(asked).buffer_unordered(IN_FLIGHT).try_collect().await
    }

    /// What the kernel knows of each neighbour.
    pub(super) async fn neighbours(&self, places: Vec<Place>) -> Result<Vec<(Place, Report)>, AskError> {
        let asked = places.into_iter().map(|place| {
            let handle = self.handle.clone();
            async move { Ok((place, neighbour(handle, place).await?)) }
        });
        futures_util::stream::iter(asked).buffer_unordered(IN_FLIGHT).try_collect().await
    }

    /// Makes the kernel ask a neighbour whose address it does not know, or not
    /// for certain, as if it had a packet for it. The entry must not be a
    /// permanent one: it would not be permanent any more.
    pub(super) async fn make_sure(&self, place: Place) -> Result<(), AskError> {
        let request = self.handle.neighbours().add(place.ifindex, place.neighbour);
        let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
        in_time(async { request.execute().await.map_err(AskError::from) }).await
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(AskError::Silent(PATIENCE)))
}

async fn route(handle: Handle, to: IpAddr) -> Result<Route, AskError> {
    let length = if to.is_ipv4() { 32 } else { 128 };
    let question = RouteMessageBuilder::<IpAddr>::new().destination_prefix(to, length);
    let question = question.map_err(|error| AskError::Unexpected(format!("{error:?}")))?.build();
    let mut answers = std::pin::pin!(handle.route().get(question).execute());
    let answer = in_time(async { answers.try_next().await.map_err(AskError::from) }).await;
    match answer {
        Ok(Some(message)) => read_route(to, &message),
        Ok(None) => Err(AskError::Closed),
        Err(AskError::Refused(error)) => refusal(to, error),
        Err(error) => Err(error),
    }
}

async fn neighbour(mut handle: Handle, place: Place) -> Result<Report, AskError> {
    // rtnetlink only knows how to ask for all of them.
    let mut question = NeighbourMessage::default();
    question.header.ifindex = place.ifindex;
    let (family, destination) = match place.neighbour {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    question.header.family = family;
    question.attributes.push(NeighbourAttribute::Destination(destination));
    let mut question = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(question));
    question.header.flags = NLM_F_REQUEST;
    let mut answers = handle.request(question)?;
    let answer = in_time(async { answers.next().await.ok_or(AskError::Closed) }).await?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => {
            Ok(read_neighbour(&message).map_or(Report::Unknown, |(_, report)| report))
        }
        NetlinkPayload::Error(error) => match error.to_io() {
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(Report::Unknown),
            // The interface went away.
            error if error.raw_os_error() == Some(libc::ENODEV) => Ok(Report::Unknown),
            error => Err(AskError::Refused(error)),
        },
        other => Err(AskError::Unexpected(format!("{other:?}"))),
    }
}

/// A routing decision, or what of the answer is not understood.
fn read_route(to: IpAddr, message: &RouteMessage) -> Result<Route, AskError> {
    let missing = match message.header.kind {
        RouteType::Unicast => None,
        RouteType::Local | RouteType::Anycast => Some(Missing::Own(to)),
        RouteType::Broadcast | RouteType::Multicast => Some(Missing::NotOneHost(to)),
        RouteType::BlackHole => Some(Missing::BlackHole(to)),
        RouteType::Prohibit => Some(Missing::Prohibited(to)),
        _ => Some(Missing::NoRoute(to)),
    };
    if let Some(missing) = missing {
        return Ok(Err(missing));
    }
    let mut place = (None, to);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => place.0 = Some(*ifindex),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) | RouteAttribute::Via(RouteVia::Inet(gateway)) => {
                place.1 = (*gateway).into();
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) | RouteAttribute::Via(RouteVia::Inet6(gateway)) => {
                place.1 = (*gateway).into();
            }
            _ => {}
        }
    }
    let (Some(ifindex), neighbour) = place else {
        return Err(AskError::Unexpected(format!("a route to {to} without an interface")));
    };
    Ok(Ok(Place { ifindex, neighbour }))
}

/// What an error in place of a routing decision means.
fn refusal(to: IpAddr, error: io::Error) -> Result<Route, AskError> {
    let missing = match error.raw_os_error() {
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ESRCH) => Missing::NoRoute(to),
        Some(libc::EACCES) => Missing::Prohibited(to),
        Some(libc::EINVAL) => Missing::BlackHole(to),
        // No memory, no permission: that says nothing about the route.
        Some(libc::ENOMEM | libc::ENOBUFS | libc::EPERM) | None => return Err(AskError::Refused(error)),
        Some(errno) => Missing::Refused(to, errno),
    };
    Ok(Err(missing))
}

/// The number and the looks of a link, unless it has no name.
fn read_link(message: &LinkMessage) -> Option<(u32, Link)> {
    let (mut name, mut address, mut mtu) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => address = mac(bytes),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            _ => {}
        }
    }
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let up = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    let mac = address.filter(|_| ethernet);
    Some((message.header.index, Link { name: name?, mac, up, mtu, addresses: Vec::new() }))
}

/// An address and the link that has it, if it can be sent from and is not
/// secondary to another: IPv6 marks temporary addresses by the same bit.
fn read_address(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    let flags = message.header.flags;
    if flags.intersects(AddressHeaderFlags::Secondary | AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed) {
        return None;
    }
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // Where an address has a peer, this is ours and the other is the peer's.
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    Some((message.header.index, local.or(address)?))
}

/// Which neighbour a message is about and what it says; `None` for one that is
/// no neighbour of IP, or only answered for.
pub(super) fn read_neighbour(message: &NeighbourMessage) -> Option<(Place, Report)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut neighbour, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => neighbour = Some(IpAddr::from(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => neighbour = Some(IpAddr::from(*ip)),
            NeighbourAttribute::LinkLayerAddress(bytes) => address = mac(bytes),
            _ => {}
        }
    }
    let report = match (message.header.state, address) {
        (NeighbourState::Failed, _) => Report::Failed,
        (NeighbourState::Reachable | NeighbourState::Delay | NeighbourState::Probe, Some(mac)) => Report::Fresh(mac),
        (NeighbourState::Stale, Some(mac)) => Report::Stale(mac),
        (NeighbourState::Permanent | NeighbourState::Noarp, Some(mac)) => Report::Fixed(mac),
        _ => Report::Unknown,
    };
    Some((Place { ifindex: message.header.ifindex, neighbour: neighbour? }, report))
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

impl From<rtnetlink::Error> for AskError {
    fn from(error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(error) => Self::Refused(error.to_io()),
            rtnetlink::Error::RequestFailed => Self::Closed,
            other => Self::Unexpected(other.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
