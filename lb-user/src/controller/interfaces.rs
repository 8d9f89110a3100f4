//! Which interfaces the data path is attached to: from those it has to those
//! the pool file names, all of them or no change.

use std::collections::BTreeMap;

use crate::{
    dataplane::{Attachment, DataplaneError, XdpMode, kernel::KernelDataplane},
    net::Interface,
};

/// What the change came to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Where the data path is attached now.
    pub attachments: Vec<Attachment>,
    /// By interface index: why its driver did not take the program.
    pub fallbacks: BTreeMap<u32, String>,
}

/// Attaches to every wanted interface and then detaches from all others.
///
/// # Errors
/// When one cannot be attached: those attached by this call are detached
/// again, and everything is as it was.
pub(super) fn settle(
    dataplane: &mut KernelDataplane,
    wanted: &[Interface],
    mode: XdpMode,
) -> Result<Settled, DataplaneError> {
    let before = dataplane.attachments()?;
    let mut settled = Settled::default();
    for interface in wanted {
        let attached = dataplane.attach(&interface.name, interface.ifindex, interface.mac, mode);
        match attached {
            Ok(attachment) => settled.add(attachment),
            Err(error) => {
                let fresh = settled.attachments.iter().filter(|a| !before.iter().any(|b| b.ifindex == a.ifindex));
                for attachment in fresh {
                    if let Err(error) = dataplane.detach(&attachment.interface) {
                        tracing::warn!(interface = attachment.interface, %error, "detach again");
                    }
                }
                return Err(error);
            }
        }
    }
    for old in before.iter().filter(|b| !wanted.iter().any(|w| w.ifindex == b.ifindex)) {
        tracing::info!(interface = old.interface, "detach");
        dataplane.detach(&old.interface)?;
    }
    Ok(settled)
}

impl Settled {
    fn add(&mut self, attachment: Attachment) {
        let Attachment { interface, mode, fallback, .. } = &attachment;
        match (mode, fallback) {
            (XdpMode::Generic, Some(reason)) => {
                tracing::warn!(
                    "{interface}: its driver does not take the program ({reason}), so it runs in generic mode: the \
                     kernel builds a socket buffer for every frame first, which costs several times what the \
                     forwarding does; a driver with native XDP (or a smaller MTU, or fewer queues) avoids that"
                );
                self.fallbacks.insert(attachment.ifindex, reason.clone());
            }
            (XdpMode::Generic, None) => tracing::warn!(
                "{interface}: runs in generic mode, as configured or as found: the kernel builds a socket buffer for \
                 every frame first, which costs several times what the forwarding does"
            ),
            _ => tracing::info!("{interface}: attached in native mode"),
        }
        self.attachments.push(attachment);
    }
}
