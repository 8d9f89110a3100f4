//! The whole on one screen, and the data path itself.

use super::{
    Intent, Knowledge, drops, failed,
    load_balancers::role,
    picture::{LoadBalancerRow, Picture},
};
use crate::{
    control::{
        protocol::Refusal,
        status,
        view::{CountsView, DataplaneView, InterfaceView, MapView, OperatingStatus, StatusView},
    },
    dataplane::{Attachment, XdpMode},
};

/// Who answers when it is not lbd.
const OFFLINE_SOURCE: &str = "pinned maps";

pub(super) fn status(knowledge: &Knowledge<'_>, picture: &Picture<'_>) -> Result<StatusView, Refusal> {
    let attachments = knowledge.dataplane.describe().map_err(failed("read the data path"))?.attachments;
    let interfaces_missing = missing(knowledge.intent.as_ref(), &attachments);
    let source = if knowledge.intent.is_some() { "lbd" } else { OFFLINE_SOURCE };
    let load_balancers = picture.load_balancers.iter().map(LoadBalancerRow::part);
    let (operating_status, status_reason) = status::of_all(load_balancers, &interfaces_missing);
    Ok(StatusView {
        source: source.to_owned(),
        daemon: knowledge.daemon.cloned(),
        operating_status,
        status_reason,
        role: role(picture),
        counts: counts(picture),
        interfaces: interfaces(knowledge, attachments),
        interfaces_missing,
        packets_dropped: drops::dropped(knowledge)?,
        vrrp: knowledge.vrrp.iter().map(Into::into).collect(),
        sync: knowledge.sync.map(Into::into),
    })
}

fn counts(picture: &Picture<'_>) -> CountsView {
    let mut counts = CountsView {
        load_balancers: picture.load_balancers.len(),
        listeners: picture.listeners.len(),
        pools: picture.pools.len(),
        ..CountsView::default()
    };
    for member in &picture.members {
        if member.retired {
            counts.members_retired += 1;
            continue;
        }
        counts.members += 1;
        counts.members_overridden += usize::from(member.change.is_some());
        *match member.status {
            OperatingStatus::Online | OperatingStatus::NoMonitor | OperatingStatus::Degraded => {
                &mut counts.members_online
            }
            OperatingStatus::Error => &mut counts.members_error,
            OperatingStatus::Draining => &mut counts.members_draining,
            OperatingStatus::Offline => &mut counts.members_offline,
        } += 1;
    }
    counts
}

pub(super) fn dataplane(knowledge: &Knowledge<'_>) -> Result<DataplaneView, Refusal> {
    let info = knowledge.dataplane.describe().map_err(failed("read the data path"))?;
    let maps = info.maps.into_iter();
    Ok(DataplaneView {
        pin_path: info.pin_path.display().to_string(),
        abi_version: info.abi_version,
        program_id: info.program_id,
        jited_bytes: info.jited_bytes,
        verified_instructions: info.verified_instructions,
        max_flows: info.max_flows,
        snat_ports: info.snat_ports,
        interfaces: interfaces(knowledge, info.attachments),
        maps: maps.map(|map| MapView { name: map.name, entries: map.entries, bytes: map.bytes }).collect(),
    })
}

/// The interfaces that the data path should be attached to and is not.
fn missing(intent: Option<&Intent<'_>>, attachments: &[Attachment]) -> Vec<String> {
    let wanted = intent.map_or(&[][..], |intent| intent.interfaces);
    wanted.iter().filter(|name| !attachments.iter().any(|a| a.interface == **name)).cloned().collect()
}

fn interfaces(knowledge: &Knowledge<'_>, attachments: Vec<Attachment>) -> Vec<InterfaceView> {
    let mut views: Vec<_> = attachments.into_iter().map(|a| interface(knowledge.intent.as_ref(), a)).collect();
    views.sort_by(|a, b| (&a.name, a.ifindex).cmp(&(&b.name, b.ifindex)));
    views
}

fn interface(intent: Option<&Intent<'_>>, attachment: Attachment) -> InterfaceView {
    let remembered = intent.and_then(|intent| intent.fallbacks.get(&attachment.ifindex)).cloned();
    let mode = match attachment.mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
        XdpMode::Auto => "auto",
    };
    InterfaceView {
        name: attachment.interface,
        ifindex: attachment.ifindex,
        port: attachment.port,
        mac: attachment.mac.to_string(),
        xdp_mode: mode.to_owned(),
        fallback: attachment.fallback.or(remembered),
    }
}
