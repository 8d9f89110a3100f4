//! The pinned arrays, mapped.
//!
//! The kernel makes every page of a mapped array present at once, and counts it as
//! memory of whoever has mapped it. So the flow tables and the placements, by far the
//! largest, are mapped only while they are looked at, a window at a time; who needs all of them
//! for longer asks for [`WholeArrays`]. Of the slots, which come next, those are
//! mapped that tables have ever had.

use std::{
    net::IpAddr,
    ops::{Deref, Range},
    os::fd::AsFd,
    path::Path,
    sync::{Arc, OnceLock},
};

use aya::maps::MapData;
use lb_common::{
    advert::{AdvertGuard, AdvertLine},
    array::FixedArray,
    config::Config,
    dnat::DnatLine,
    flow::{Flow4Line, Flow6Line, Return4, Return6},
    fragment::Fragment,
    instance::Instance,
    label::Label,
    listener::{ListenerLine, ListenerOf},
    load::{Load, SourceCell},
    member::Member,
    names,
    placement::PlacementLine,
    pool::{Pool, SlotLine},
    port::Port,
    trace::TraceFilter,
    vip::{Vip4Line, Vip6Line, VipFilter},
};
use lb_ebpf::host::{Arrays, FlowArrays};

use super::{
    DataplaneError,
    cidrs::Cidrs,
    flows::{FlowMemory, Window},
    region::{Region, Shared},
};
use crate::causes::chain;

/// Every array of the data path but the flow tables, shared with the kernel.
#[derive(Debug)]
pub(super) struct MappedArrays {
    config: Region<Config>,
    vips4: Region<Vip4Line>,
    vips6: Region<Vip6Line>,
    vip_filter: Region<VipFilter>,
    instances: Arc<Region<Instance>>,
    advert_guard: Region<AdvertGuard>,
    advert_sources: Region<AdvertLine>,
    listeners: Region<ListenerLine>,
    listener_keys: Region<ListenerOf>,
    pools: Region<Pool>,
    slots: Piecewise<SlotLine>,
    members: Region<Member>,
    ports: Region<Port>,
    labels: Region<Label>,
    placements: WhenAsked<PlacementLine>,
    listener_loads: Region<Load>,
    member_loads: Region<Load>,
    sources: Region<SourceCell>,
    fragments: Region<Fragment>,
    dnat_members: Region<DnatLine>,
    trace_filter: Region<TraceFilter>,
    cidrs: Cidrs,
}

impl MappedArrays {
    /// Maps the arrays pinned under a directory.
    pub(super) fn open(pin_path: &Path) -> Result<Self, DataplaneError> {
        Ok(Self {
            config: open(pin_path, names::CONFIG)?,
            vips4: open(pin_path, names::VIPS4)?,
            vips6: open(pin_path, names::VIPS6)?,
            vip_filter: open(pin_path, names::VIP_FILTER)?,
            instances: Arc::new(open(pin_path, names::INSTANCES)?),
            advert_guard: open(pin_path, names::ADVERT_GUARD)?,
            advert_sources: open(pin_path, names::ADVERT_SOURCES)?,
            listeners: open(pin_path, names::LISTENERS)?,
            listener_keys: open(pin_path, names::LISTENER_KEYS)?,
            pools: open(pin_path, names::POOLS)?,
            slots: Piecewise::open(pin_path, names::SLOTS)?,
            members: open(pin_path, names::MEMBERS)?,
            ports: open(pin_path, names::PORTS)?,
            labels: open(pin_path, names::LABELS)?,
            placements: WhenAsked::open(pin_path, names::PLACEMENTS)?,
            listener_loads: open(pin_path, names::LISTENER_LOADS)?,
            member_loads: open(pin_path, names::MEMBER_LOADS)?,
            sources: open(pin_path, names::SOURCES)?,
            fragments: open(pin_path, names::FRAGMENTS)?,
            dnat_members: open(pin_path, names::DNAT_MEMBERS)?,
            trace_filter: open(pin_path, names::TRACE_FILTER)?,
            cidrs: Cidrs::open(pin_path)?,
        })
    }

    /// `CIDRS4` and `CIDRS6`.
    pub(super) const fn cidrs(&self) -> &Cidrs {
        &self.cidrs
    }

    /// `INSTANCES`, shared with whoever turns instances on and off.
    pub(super) fn shared_instances(&self) -> Arc<Region<Instance>> {
        Arc::clone(&self.instances)
    }
}

/// A pinned array of values of one type that is not mapped yet.
#[derive(Debug)]
struct Pinned {
    name: &'static str,
    map: MapData,
    entries: u32,
}

impl Pinned {
    fn open<T: Shared>(pin_path: &Path, name: &'static str) -> Result<Self, DataplaneError> {
        let path = pin_path.join(name);
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| DataplaneError::Kernel {
            what: format!("open {}", path.display()),
            source,
        };
        let map = MapData::from_pin(&path).map_err(|e| failed(Box::new(e)))?;
        let info = map.info().map_err(|e| failed(Box::new(e)))?;
        // One whose address the program has is a single value to the kernel.
        let (entry, entries) = match FixedArray::ALL.iter().find(|array| array.name() == name) {
            Some(array) => (info.value_size() / array.entries(), array.entries()),
            None => (info.value_size(), info.max_entries()),
        };
        if entry as usize != size_of::<T>() {
            return Err(failed(format!("its values have {entry} bytes, {} are expected", size_of::<T>()).into()));
        }
        Ok(Self { name, map, entries })
    }

    fn map<T: Shared>(&self, window: Range<u32>) -> Result<Region<T>, DataplaneError> {
        let region = Region::map(self.map.fd().as_fd(), window);
        region.map_err(|e| DataplaneError::Kernel { what: format!("map {}", self.name), source: Box::new(e) })
    }

    fn whole<T: Shared>(&self) -> Result<Region<T>, DataplaneError> {
        self.map(0..self.entries)
    }
}

/// Maps a pinned array.
pub(super) fn open<T: Shared>(pin_path: &Path, name: &'static str) -> Result<Region<T>, DataplaneError> {
    Pinned::open::<T>(pin_path, name)?.whole()
}

/// An array of which a piece is mapped when one of its entries is first asked for,
/// and stays so.
#[derive(Debug)]
struct Piecewise<T> {
    pinned: Pinned,
    pieces: Box<[OnceLock<Region<T>>]>,
}

impl<T: Shared> Piecewise<T> {
    /// Entries of a piece: as many as a mebibyte has room for.
    const LENGTH: u32 = (1 << 20) / size_of::<T>() as u32;

    fn open(pin_path: &Path, name: &'static str) -> Result<Self, DataplaneError> {
        let pinned = Pinned::open::<T>(pin_path, name)?;
        let pieces = (0..pinned.entries.div_ceil(Self::LENGTH)).map(|_| OnceLock::new()).collect();
        Ok(Self { pinned, pieces })
    }

    /// An entry; `None` past the end, or when the kernel does not map it.
    fn get(&self, index: u32) -> Option<&T> {
        let piece = self.pieces.get((index / Self::LENGTH) as usize)?;
        if piece.get().is_none() {
            let start = index / Self::LENGTH * Self::LENGTH;
            let window = start..start.saturating_add(Self::LENGTH).min(self.pinned.entries);
            match self.pinned.map(window) {
                // Whoever comes second drops what it has mapped.
                Ok(region) => drop(piece.set(region)),
                Err(error) => tracing::warn!("{}", chain(&error)),
            }
        }
        piece.get()?.values().get((index % Self::LENGTH) as usize)
    }
}

/// An array that is mapped as a whole when it is first asked for, and stays so: for
/// whoever cannot do with a window of it.
#[derive(Debug)]
struct WhenAsked<T> {
    pinned: Pinned,
    whole: OnceLock<Region<T>>,
}

impl<T: Shared> WhenAsked<T> {
    fn open(pin_path: &Path, name: &'static str) -> Result<Self, DataplaneError> {
        Ok(Self { pinned: Pinned::open::<T>(pin_path, name)?, whole: OnceLock::new() })
    }

    /// The entries; none when the kernel does not map them.
    fn values(&self) -> &[T] {
        if self.whole.get().is_none() {
            match self.pinned.whole() {
                // Whoever comes second drops what it has mapped.
                Ok(region) => drop(self.whole.set(region)),
                Err(error) => tracing::warn!("{}", chain(&error)),
            }
        }
        self.whole.get().map_or(&[], Region::values)
    }
}

/// The flow tables and the placements, open and not mapped.
#[derive(Debug)]
pub(super) struct PinnedFlows {
    placements: Pinned,
    flows4: Pinned,
    flows6: Pinned,
    returns4: Pinned,
    returns6: Pinned,
}

impl PinnedFlows {
    /// Opens the flow tables pinned under a directory.
    pub(super) fn open(pin_path: &Path) -> Result<Self, DataplaneError> {
        Ok(Self {
            placements: Pinned::open::<PlacementLine>(pin_path, names::PLACEMENTS)?,
            flows4: Pinned::open::<Flow4Line>(pin_path, names::FLOWS4)?,
            flows6: Pinned::open::<Flow6Line>(pin_path, names::FLOWS6)?,
            returns4: Pinned::open::<Return4>(pin_path, names::RETURNS4)?,
            returns6: Pinned::open::<Return6>(pin_path, names::RETURNS6)?,
        })
    }

    /// All of them mapped, beside the other arrays, until that is dropped.
    pub(super) fn whole(&self, others: Arc<MappedArrays>) -> Result<WholeArrays, DataplaneError> {
        Ok(WholeArrays {
            others,
            flows4: self.flows4.whole()?,
            flows6: self.flows6.whole()?,
            returns4: self.returns4.whole()?,
            returns6: self.returns6.whole()?,
        })
    }
}

impl FlowMemory for PinnedFlows {
    fn flows4(&self, window: Range<u32>) -> Result<Window<'_, Flow4Line>, DataplaneError> {
        self.flows4.map(window).map(Window::Mapped)
    }

    fn flows6(&self, window: Range<u32>) -> Result<Window<'_, Flow6Line>, DataplaneError> {
        self.flows6.map(window).map(Window::Mapped)
    }

    fn returns4(&self, window: Range<u32>) -> Result<Window<'_, Return4>, DataplaneError> {
        self.returns4.map(window).map(Window::Mapped)
    }

    fn returns6(&self, window: Range<u32>) -> Result<Window<'_, Return6>, DataplaneError> {
        self.returns6.map(window).map(Window::Mapped)
    }

    fn placements(&self, window: Range<u32>) -> Result<Window<'_, PlacementLine>, DataplaneError> {
        self.placements.map(window).map(Window::Mapped)
    }
}

/// Every array of the data path, flow tables included.
#[derive(Debug)]
pub(super) struct WholeArrays {
    others: Arc<MappedArrays>,
    flows4: Region<Flow4Line>,
    flows6: Region<Flow6Line>,
    returns4: Region<Return4>,
    returns6: Region<Return6>,
}

impl Deref for WholeArrays {
    type Target = MappedArrays;

    fn deref(&self) -> &MappedArrays {
        &self.others
    }
}

impl FlowArrays for WholeArrays {
    fn flows4(&self) -> &[Flow4Line] {
        self.flows4.values()
    }

    fn flows6(&self) -> &[Flow6Line] {
        self.flows6.values()
    }

    fn returns4(&self) -> &[Return4] {
        self.returns4.values()
    }

    fn returns6(&self) -> &[Return6] {
        self.returns6.values()
    }
}

impl Arrays for MappedArrays {
    fn config(&self) -> &Config {
        // A mapped array has at least one entry, or it would not have mapped.
        &self.config.values()[0]
    }

    fn vips4(&self) -> &[Vip4Line] {
        self.vips4.values()
    }

    fn vips6(&self) -> &[Vip6Line] {
        self.vips6.values()
    }

    fn instances(&self) -> &[Instance] {
        self.instances.values()
    }

    fn vip_filter(&self) -> &VipFilter {
        &self.vip_filter.values()[0]
    }

    fn advert_guard(&self) -> &AdvertGuard {
        &self.advert_guard.values()[0]
    }

    fn advert_sources(&self) -> &[AdvertLine] {
        self.advert_sources.values()
    }

    fn listeners(&self) -> &[ListenerLine] {
        self.listeners.values()
    }

    fn listener_keys(&self) -> &[ListenerOf] {
        self.listener_keys.values()
    }

    fn pools(&self) -> &[Pool] {
        self.pools.values()
    }

    fn slot_lines(&self) -> u32 {
        self.slots.pinned.entries
    }

    fn slot_line(&self, index: u32) -> Option<&SlotLine> {
        self.slots.get(index)
    }

    fn members(&self) -> &[Member] {
        self.members.values()
    }

    fn ports(&self) -> &[Port] {
        self.ports.values()
    }

    fn labels(&self) -> &[Label] {
        self.labels.values()
    }

    fn placements(&self) -> &[PlacementLine] {
        self.placements.values()
    }

    fn listener_loads(&self) -> &[Load] {
        self.listener_loads.values()
    }

    fn member_loads(&self) -> &[Load] {
        self.member_loads.values()
    }

    fn sources(&self) -> &[SourceCell] {
        self.sources.values()
    }

    fn fragments(&self) -> &[Fragment] {
        self.fragments.values()
    }

    fn dnat_members(&self) -> &[DnatLine] {
        self.dnat_members.values()
    }

    fn trace_filter(&self) -> &TraceFilter {
        &self.trace_filter.values()[0]
    }

    fn allows(&self, listener: u16, address: IpAddr) -> bool {
        self.cidrs.allows(listener, address)
    }
}
