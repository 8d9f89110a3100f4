//! What is observed after an operation, without looking.
//!
//! What must not be here: whether an operation is allowed (the data plane's to
//! say). Others rely on this: what follows each operation that was carried out is
//! what the maps would be read as, as long as nobody else writes to them.

use lb_common::member::MemberState;

use super::{ListenerKey, Observed, ObservedInstance, ObservedListener, ObservedPool, ObservedVip, Op, VipId};

impl Observed {
    /// Takes an operation that was carried out.
    pub fn follow(&mut self, op: Op) {
        match op {
            Op::PutMember { id, record } => {
                self.members.insert(id, record);
            }
            Op::PutPool { id, record, table, hold: _ } => {
                self.pools.insert(id, ObservedPool { record, table });
            }
            Op::PutInstance { id, label, mac } => {
                let active = self.instances.get(&id).is_some_and(|instance| instance.active);
                self.instances.insert(id, ObservedInstance { label, mac, active });
            }
            Op::PutVip { id, address, label, active, instance } => {
                self.vips.insert(address, ObservedVip { id, label, active, instance });
            }
            Op::SetAdvertSources { sources } => self.advert_sources = sources,
            Op::PutListener { id, vip, transport, port, label, pool, in_snat_range, rules } => {
                if let Some(vip) = self.address_of(vip) {
                    let listener = ObservedListener { id, label, pool, in_snat_range, rules };
                    self.listeners.insert(ListenerKey { vip, transport, port }, listener);
                }
            }
            Op::SetAllowedCidrs { listener, prefixes } => {
                self.allowed_cidrs.remove(&listener);
                if !prefixes.is_empty() {
                    self.allowed_cidrs.insert(listener, prefixes);
                }
            }
            Op::SetDnatMembers { members } => self.dnat_members = members,
            Op::RemoveListener { id, vip, transport, port } => {
                self.allowed_cidrs.remove(&id);
                self.dnat_members.retain(|_, (listener, _)| *listener != id);
                if let Some(vip) = self.address_of(vip) {
                    self.listeners.remove(&ListenerKey { vip, transport, port });
                }
            }
            Op::RemoveVip { address, .. } => {
                self.vips.remove(&address);
            }
            Op::RemoveInstance { id } => {
                self.instances.remove(&id);
            }
            Op::RemovePool { id } => {
                self.pools.remove(&id);
            }
            Op::RetireMember { id } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.flags = member.flags & !MemberState::UP | MemberState::RETIRED;
                }
            }
            Op::ReleaseMember { id } => {
                self.members.remove(&id);
                self.dnat_members.retain(|_, (_, member)| *member != id);
            }
        }
    }

    fn address_of(&self, id: VipId) -> Option<std::net::IpAddr> {
        self.vips.iter().find(|(_, vip)| vip.id == id).map(|(address, _)| *address)
    }
}
