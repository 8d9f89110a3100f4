//! What the kernel tells unasked. Events are read straight from their socket,
//! so that its buffer is the bound: what does not fit is reported as lost, and
//! the watch looks at everything again.

use std::io;

use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};

use super::{kernel::read_neighbour, neighbours::Report, resolve::Place};

/// What can change the way to a member, or where a virtual router speaks from.
const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];

/// Types of messages: one that says that others were lost, and the first that
/// is not about netlink itself.
const NLMSG_OVERRUN: u16 = 4;
const NLMSG_MIN_TYPE: u16 = 16;

/// A message is at least its header.
const HEADER_BYTES: usize = 16;

/// Longer than any message the kernel sends.
const MESSAGE_BYTES: usize = 64 << 10;

/// Room for events that come while the watch is busy: a few thousand.
const BUFFER_BYTES: u32 = 1 << 20;

/// A change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// Of a neighbour.
    Neighbour(Place, Report),
    /// Of links, routes or rules; which one does not matter, the kernel will be
    /// asked for its decisions again.
    Way,
    /// Events were lost, or not understood.
    Lost,
}

/// The socket that events come from.
pub(super) struct Events {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Events {
    /// Subscribes, in the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        // The system may allow less, or set a higher limit.
        if let Err(error) = socket.socket_ref().set_rx_buf_sz(BUFFER_BYTES) {
            tracing::debug!(%error, "the event socket keeps its small buffer");
        }
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            socket.socket_ref().add_membership(group as u32)?;
        }
        Ok(Self { socket, buffer: Vec::with_capacity(MESSAGE_BYTES) })
    }

    /// Waits for the next events. Dropping the wait loses nothing.
    ///
    /// # Errors
    /// When the socket is of no use any more.
    pub(super) async fn next(&mut self) -> io::Result<Vec<Event>> {
        self.buffer.clear();
        match self.socket.recv_from(&mut self.buffer).await {
            // Only the kernel sends events.
            Ok(sender) if sender.port_number() != 0 => Ok(Vec::new()),
            Ok(_) => Ok(read(&self.buffer)),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(vec![Event::Lost]),
            Err(error) => Err(error),
        }
    }
}

/// The events in a datagram.
fn read(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let Some((kind, length)) = header(bytes) else {
            events.push(Event::Lost);
            break;
        };
        events.extend(read_one(kind, &bytes[..length]));
        // Messages begin at multiples of four bytes.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    events
}

/// The type and the length of the first message, if it is whole.
fn header(bytes: &[u8]) -> Option<(u16, usize)> {
    let message = NetlinkBuffer::new_checked(bytes).ok()?;
    let length = usize::try_from(message.length()).ok()?;
    // Checked against the end, but not against the beginning.
    (length >= HEADER_BYTES).then_some((message.message_type(), length))
}

fn read_one(kind: u16, message: &[u8]) -> Option<Event> {
    match kind {
        libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => read_neighbour_event(message),
        kind if kind == NLMSG_OVERRUN => Some(Event::Lost),
        // The other control messages say nothing.
        kind if kind < NLMSG_MIN_TYPE => None,
        _ => Some(Event::Way),
    }
}

fn read_neighbour_event(message: &[u8]) -> Option<Event> {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message);
    match message.map(|message| message.payload) {
        Ok(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message))) => {
            read_neighbour(&message).map(|(place, report)| Event::Neighbour(place, report))
        }
        Ok(NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message))) => {
            read_neighbour(&message).map(|(place, _)| Event::Neighbour(place, Report::Removed))
        }
        _ => Some(Event::Lost),
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
