//! `[sync]`.

use std::net::{IpAddr, SocketAddr};

use vrrp::Secret;

use super::{
    SyncConfig,
    fields::{LOCAL, PEER, RESCAN, SYNC_SECRET, SYNC_SECRET_FILE},
    secrets::secret,
};
use crate::{
    config::{
        reader::{Reader, Spot},
        schema::Field,
    },
    model::AddressFlaw,
};

/// The table as it is in the file; what was refused is absent.
pub(super) struct Sync {
    pub(super) spot: Spot,
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
    /// The whole, after no complaint.
    pub(super) config: Option<SyncConfig>,
}

pub(super) fn sync(table: Reader<'_>) -> Sync {
    let local = endpoint(&table, &LOCAL, "an address of this balancer that the other one reaches");
    let peer = endpoint(&table, &PEER, "the other balancer's address");
    if let (Some(local), Some(peer)) = (local, peer) {
        if local.ip() == peer.ip() {
            let text = format!("{} is this balancer's own, as local says; give the other one's", peer.ip());
            table.mistake(PEER.key, text);
        } else if local.is_ipv4() != peer.is_ipv4() {
            table.mistake(PEER.key, format!("{} and {} are of two families; give two of one", peer.ip(), local.ip()));
        }
    }
    let secret = required_secret(&table);
    let rescan = table.seconds(&RESCAN);
    let config = || Some(SyncConfig { local: local?, peer: peer?, secret: secret?, rescan: rescan? });
    Sync { config: config(), spot: table.spot(), local, peer }
}

fn required_secret(table: &Reader<'_>) -> Option<Secret> {
    if !table.has(SYNC_SECRET.key) && !table.has(SYNC_SECRET_FILE.key) {
        let text = format!("is missing; add for example secret_file = {}", SYNC_SECRET_FILE.example);
        table.mistake(SYNC_SECRET.key, text);
    }
    secret(table, &SYNC_SECRET, &SYNC_SECRET_FILE)
}

fn endpoint(table: &Reader<'_>, field: &'static Field, wanted: &str) -> Option<SocketAddr> {
    let endpoint = table.endpoint(field)?;
    let address: IpAddr = endpoint.ip();
    if let Some(flaw) = AddressFlaw::of(address) {
        table.mistake(field.key, format!("{address} is {flaw}; give {wanted}"));
        return None;
    }
    Some(endpoint)
}
