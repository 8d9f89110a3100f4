//! Which interfaces the data path is attached to: from those it has to those
//! the pool file names, all of them or no change.

use crate::{
    causes::chain,
    dataplane::{Attachment, DataplaneError, XdpMode, kernel::KernelDataplane},
    net::Interface,
};

/// Attaches to every wanted interface and then detaches from all others;
/// returns where the data path is attached then. `told` are the attachments that
/// the log has spoken of already.
///
/// # Errors
/// When one cannot be attached: those attached by this call are detached
/// again, and everything is as it was.
pub(super) fn settle(
    dataplane: &mut KernelDataplane,
    wanted: &[Interface],
    mode: XdpMode,
    told: &[Attachment],
) -> Result<Vec<Attachment>, DataplaneError> {
    let before = dataplane.attachments()?;
    let mut settled = Vec::new();
    for interface in wanted {
        let attached = dataplane.attach(&interface.name, interface.ifindex, interface.mac, mode);
        match attached {
            Ok(attachment) => settled.push(attachment),
            Err(error) => {
                restore(dataplane, &before);
                return Err(error);
            }
        }
    }
    for old in before.iter().filter(|b| !wanted.iter().any(|w| w.ifindex == b.ifindex)) {
        tracing::info!(interface = old.interface, "detach");
        dataplane.detach(&old.interface)?;
    }
    let is_told = |a: &&Attachment| told.iter().any(|t| (t.ifindex, t.mode) == (a.ifindex, a.mode));
    settled.iter().filter(|a| !is_told(a)).for_each(tell);
    Ok(settled)
}

/// Undoes a change that failed on its way: what was attached newly is let go,
/// what was detached or switched to another mode is as before again.
fn restore(dataplane: &mut KernelDataplane, before: &[Attachment]) {
    let now = dataplane.attachments().unwrap_or_default();
    let is_in = |list: &[Attachment], a: &Attachment| list.iter().any(|b| (b.ifindex, b.mode) == (a.ifindex, a.mode));
    let new = now.iter().filter(|a| !before.iter().any(|b| b.ifindex == a.ifindex));
    let undone: Vec<_> = new.map(|a| dataplane.detach(&a.interface)).collect();
    let lost = before.iter().filter(|a| !is_in(&now, a));
    let redone: Vec<_> = lost.map(|a| dataplane.attach(&a.interface, a.ifindex, a.mac, a.mode).map(drop)).collect();
    for error in undone.into_iter().chain(redone).filter_map(Result::err) {
        tracing::error!("undo the change of interfaces: {}", chain(&error));
    }
}

/// Says how an interface is attached.
fn tell(attachment: &Attachment) {
    let Attachment { interface, mode, fallback, .. } = attachment;
    match (mode, fallback) {
        (XdpMode::Generic, Some(reason)) => tracing::warn!(
            "{interface}: its driver does not take the program ({reason}), so it runs in generic mode: the kernel \
             builds a socket buffer for every frame first, which costs several times what the forwarding does; a \
             driver with native XDP (or a smaller MTU, or fewer queues) avoids that"
        ),
        (XdpMode::Generic, None) => tracing::warn!(
            "{interface}: runs in generic mode, as configured or as found: the kernel builds a socket buffer for every \
             frame first, which costs several times what the forwarding does"
        ),
        _ => tracing::info!("{interface}: attached in native mode"),
    }
}
