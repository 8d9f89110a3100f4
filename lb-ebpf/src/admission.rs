//! May this flow be opened?

use lb_common::{drop_reason::DropReason, listener::ListenerEntry};

use crate::{family::Family, flow::Moment, tables::Tables};

/// Asks a listener's rules about a new flow: `allowed_cidrs`, `connection_limit`
/// and the rate of its source, in this order.
///
/// # Errors
/// The rule that refuses it.
#[inline(always)]
pub(crate) fn admit<F: Family, T: Tables>(
    tables: &T,
    _moment: &Moment<'_>,
    listener: ListenerEntry,
    source: F::Address,
) -> Result<(), DropReason> {
    if listener.has(ListenerEntry::GUARDED) && !F::allows(tables, listener.id(), source) {
        return Err(DropReason::SourceNotAllowed);
    }
    Ok(())
}
