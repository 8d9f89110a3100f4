//! Lowering the MSS of a TCP SYN.

use lb_common::pool::{ForwardMode, Pool};

use crate::{packet::Packet, tables::Tables, transport::Segment};

/// Lowers the MSS of a client's SYN to what its pool says.
#[inline(always)]
pub(crate) fn clamp_for(_packet: &mut Packet<'_>, _segment: &Segment, _pool: Option<&Pool>, _mode: ForwardMode) {}

/// The same for a member's answer in a flow of a listener.
#[inline(always)]
pub(crate) fn clamp_back<T: Tables>(_packet: &mut Packet<'_>, _tables: &T, _segment: &Segment, _listener: u16) {}
