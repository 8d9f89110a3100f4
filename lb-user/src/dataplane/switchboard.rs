//! Turns VRRP instances on and off.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use lb_common::instance::{Instance, NO_INSTANCE};

use super::{InstanceId, region::Region};

/// Says which instances are Active. It is the one part of the data path that is
/// not the controller's to write: who speaks VRRP must wait for nobody. Clones
/// share their memory, which outlives the data plane it came from.
#[derive(Clone, Debug)]
pub struct Switchboard {
    instances: Instances,
}

#[derive(Clone, Debug)]
enum Instances {
    Mapped(Arc<Region<Instance>>),
    Owned(Arc<[Instance]>),
}

impl Switchboard {
    pub(super) const fn mapped(instances: Arc<Region<Instance>>) -> Self {
        Self { instances: Instances::Mapped(instances) }
    }

    pub(super) const fn owned(instances: Arc<[Instance]>) -> Self {
        Self { instances: Instances::Owned(instances) }
    }

    fn get(&self, id: InstanceId) -> Option<&Instance> {
        let instances = match &self.instances {
            Instances::Mapped(region) => region.values(),
            Instances::Owned(instances) => instances,
        };
        instances.get(usize::from(id.0)).filter(|_| id.0 != NO_INSTANCE)
    }

    /// Makes this balancer carry the VIPs of an instance, or stop to: one word,
    /// which the next packet meets. An instance that is not in the maps stays
    /// as it is; says whether it is there.
    pub fn set_active(&self, id: InstanceId, active: bool) -> bool {
        let Some(instance) = self.get(id) else { return false };
        // The word has another writer, who removes instances: only one that is
        // there may be changed, or the next with this id would begin as Active.
        let change = |state| {
            let is_there = state & Instance::VALID != 0;
            is_there.then_some(if active { state | Instance::ACTIVE } else { state & !Instance::ACTIVE })
        };
        instance.state.fetch_update(Relaxed, Relaxed, change).is_ok()
    }

    /// Whether this balancer carries the VIPs of an instance.
    #[must_use]
    pub fn is_active(&self, id: InstanceId) -> bool {
        self.get(id).is_some_and(Instance::is_active)
    }

    /// Notes when an instance was known to be Active and well, in microseconds
    /// of `CLOCK_BOOTTIME`.
    pub fn set_alive(&self, id: InstanceId, micros: u64) {
        if let Some(instance) = self.get(id) {
            instance.alive.store(micros, Relaxed);
        }
    }

    /// When that was last noted; zero: never.
    #[must_use]
    pub fn alive(&self, id: InstanceId) -> u64 {
        self.get(id).map_or(0, |instance| instance.alive.load(Relaxed))
    }
}
