//! What the kernel knows about links, routes and neighbours: by which port and
//! to which Ethernet address frames for a member leave.
//!
//! The kernel decides, this module only asks: its routing decision for each
//! member, then the neighbour that decision names. The data path sends frames
//! past the kernel's stack, so nothing there keeps those neighbours fresh; this
//! module does. It is the only place that says netlink.
//!
//! ```text
//! kernel (questions) ─┐
//! events (changes) ───┼─► watch ─► picture ─► resolve ─► Hops
//! set(members, ports) ┘            neighbours
//! ```
//!
//! `resolve`, `neighbours` and `picture` are pure; `watch` is the loop around
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use lb_common::mac::Mac;
use tokio::{
    sync::watch as channel,
    task::{AbortHandle, JoinHandle},
};

use crate::compile;

mod events;
mod kernel;
mod neighbours;
mod picture;
mod resolve;
mod watch;

use kernel::{AskError, Kernel};

/// Names of interfaces that an error lists. More help nobody.
const MAX_NAMES_SHOWN: usize = 16;

/// An Ethernet interface of this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number in the kernel; another one after it was removed and made again.
    pub ifindex: u32,
    /// Its own address.
    pub mac: Mac,
    /// Whether it is switched on and has a carrier.
    pub up: bool,
    /// The longest packet it carries, in bytes without the Ethernet header.
    pub mtu: u32,
}

/// Why links, routes or neighbours cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No interface has that name.
    #[error("there is no interface {name}; there are: {there}")]
    NoSuchInterface {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        there: Names,
    },
    /// Frames of another kind leave there.
    #[error("interface {name} is no Ethernet interface; attach the data path to the one below or beside it")]
    NotEthernet {
        /// Its name.
        name: String,
    },
    /// There is no socket to ask through.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// There is nothing that could run the watch.
    #[error("cannot watch routes and neighbours outside of a tokio runtime")]
    NoRuntime,
    /// The kernel was asked and gave no usable answer.
    #[error("cannot ask the kernel for {what}")]
    Ask {
        /// What it was asked for.
        what: &'static str,
        /// What came instead.
        #[source]
        source: AskError,
    },
}

/// Names of interfaces, shown up to a bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names(pub Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(MAX_NAMES_SHOWN);
        f.write_str(&self.0[..shown].join(", "))?;
        match self.0.len() - shown {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Looks up an interface by name.
///
/// # Errors
/// When the kernel cannot be asked, when there is none of that name (the error
/// lists those there are), or when it carries no Ethernet frames.
pub async fn interface(name: &str) -> Result<Interface, NetError> {
    let kernel = Kernel::open().map_err(NetError::Open)?;
    let links = kernel.links().await.map_err(|source| NetError::Ask { what: "its interfaces", source })?;
    let Some((ifindex, link)) = links.iter().find(|(_, link)| link.name == name) else {
        let mut names: Vec<_> = links.into_values().map(|link| link.name).collect();
        names.sort();
        return Err(NetError::NoSuchInterface { name: name.to_owned(), there: Names(names) });
    };
    let Some(mac) = link.mac else { return Err(NetError::NotEthernet { name: name.to_owned() }) };
    Ok(Interface { name: link.name.clone(), ifindex: *ifindex, mac, up: link.up, mtu: link.mtu })
}

/// Lets every multicast frame into an interface, until somebody takes that back
/// (`ip link set dev NAME allmulticast off`). Solicitations for an IPv6 VIP go to
/// a group that no stack on this host has joined, so that a card would keep them
/// out (RFC 4291 §2.7.1). Set on the device, it outlives the process.
///
/// # Errors
/// When the kernel refuses.
pub async fn admit_multicast(ifindex: u32) -> Result<(), NetError> {
    let kernel = Kernel::open().map_err(NetError::Open)?;
    let set = kernel.admit_multicast(ifindex).await;
    set.map_err(|source| NetError::Ask { what: "to let multicast frames into an interface", source })
}

/// Lets frames for another unicast address into an interface: that of a virtual
/// router. Set on the device, it outlives the process, so that a killed lbd does
/// not close the card to what the data path goes on forwarding.
///
/// # Errors
/// When the kernel refuses.
pub async fn admit_address(ifindex: u32, mac: Mac) -> Result<(), NetError> {
    let kernel = Kernel::open().map_err(NetError::Open)?;
    let set = kernel.admit_address(ifindex, mac).await;
    set.map_err(|source| NetError::Ask { what: "to let frames for a virtual router into an interface", source })
}

/// Takes [`admit_address`] back.
///
/// # Errors
/// When the kernel refuses; that the address was not there is no error.
pub async fn turn_away_address(ifindex: u32, mac: Mac) -> Result<(), NetError> {
    let kernel = Kernel::open().map_err(NetError::Open)?;
    let set = kernel.turn_away_address(ifindex, mac).await;
    set.map_err(|source| NetError::Ask { what: "to keep frames for a virtual router out of an interface", source })
}

/// How frames reach the members, as far as it is known. Every member of the
/// last [`NextHopWatch::set`] that was looked into is in exactly one of
/// `next_hops` and `missing`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hops {
    /// The members that can be reached.
    pub next_hops: compile::NextHops,
    /// Why the others cannot, in an operator's words.
    pub missing: BTreeMap<IpAddr, String>,
    /// The Ethernet interfaces there are, by name. One that the data path is
    /// attached to is gone when its name is not in here, and was made again when
    /// its number is another one.
    pub links: Arc<BTreeMap<String, LinkView>>,
    /// Counts the changes. Zero means that nothing has been looked at yet.
    pub generation: u64,
}

/// An Ethernet interface as the watch sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkView {
    /// Its number in the kernel.
    pub ifindex: u32,
    /// Its own address.
    pub mac: Mac,
    /// Whether it is switched on and has a carrier.
    pub up: bool,
    /// Its IP addresses that can be sent from, in the kernel's order: the first
    /// of IPv4 is the primary one.
    pub addresses: Vec<IpAddr>,
}

impl LinkView {
    /// The primary IPv4 address.
    #[must_use]
    pub fn primary4(&self) -> Option<IpAddr> {
        self.addresses.iter().copied().find(IpAddr::is_ipv4)
    }

    /// The link-local IPv6 address.
    #[must_use]
    pub fn link_local6(&self) -> Option<IpAddr> {
        let link_local = |address: &IpAddr| matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
        self.addresses.iter().copied().find(link_local)
    }
}

/// Which interfaces frames can leave by: number in the kernel ► number in the
/// data path's `PORTS` and the source address of frames.
pub type Ports = BTreeMap<u32, (u16, Mac)>;

/// Keeps [`Hops`] true. Dropping it ends the task behind it.
#[derive(Debug)]
pub struct NextHopWatch {
    wanted: channel::Sender<Wanted>,
    _task: Task,
}

/// What to look into.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Wanted {
    members: BTreeSet<IpAddr>,
    ports: Ports,
}

impl NextHopWatch {
    /// Starts watching, with no member yet. The sockets belong to the network
    /// namespace of the calling thread.
    ///
    /// # Errors
    /// Outside of a tokio runtime, and when there are no sockets to be had.
    pub fn start() -> Result<(Self, channel::Receiver<Hops>), NetError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| NetError::NoRuntime)?;
        let (wanted, wants) = channel::channel(Wanted::default());
        let (hops, published) = channel::channel(Hops::default());
        let watch = watch::Watch::open(wants, hops).map_err(NetError::Open)?;
        let task = Task::from(&runtime.spawn(watch.run()));
        Ok((Self { wanted, _task: task }, published))
    }

    /// Replaces what is looked into. Only the last call counts, so it may be
    /// called at any rate; the model's limits bound the number of members.
    pub fn set(&self, members: BTreeSet<IpAddr>, ports: Ports) {
        let wanted = Wanted { members, ports };
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(AbortHandle);

impl<T> From<&JoinHandle<T>> for Task {
    fn from(handle: &JoinHandle<T>) -> Self {
        Self(handle.abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A link, Ethernet or not.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Link {
    name: String,
    /// Its own address, if it carries Ethernet frames.
    mac: Option<Mac>,
    /// Switched on, with a carrier.
    up: bool,
    mtu: u32,
    /// Its IP addresses that can be sent from, in the kernel's order.
    addresses: Vec<IpAddr>,
}

/// Every link by its number.
type Links = BTreeMap<u32, Link>;

/// Longest wait for an answer of the kernel, which usually takes microseconds:
/// an answer that was lost for want of memory must not stop the watch.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
