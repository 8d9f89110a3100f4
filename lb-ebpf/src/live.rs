//! How many flows a listener and a member have.
//!
//! Counted up when a flow is opened, and down when it is over or given up,
//! whichever comes first. What ends without a word is found by userspace, which
//! counts anew now and then.

use lb_common::flow::{Ctl, Stage};

use crate::{
    family::Family,
    flow::{Moment, back_at, find, is_over},
    tables::Tables,
};

/// A flow was opened.
#[inline(always)]
pub(crate) fn began<T: Tables>(tables: &T, listener: u16, member: u16) {
    if let Some(load) = tables.listener_load(listener) {
        load.begin();
    }
    if let Some(load) = tables.member_load(member) {
        load.begin();
    }
}

/// A flow that was counted is over, or has been given up.
#[inline(always)]
pub(crate) fn ended<T: Tables>(tables: &T, listener: u16, member: u16) {
    if let Some(load) = tables.listener_load(listener) {
        load.end();
    }
    if let Some(load) = tables.member_load(member) {
        load.end();
    }
}

/// A flow was given up, both of whose directions had come so far: if it was over
/// it has been counted out already.
#[inline(always)]
pub(crate) fn given_up<T: Tables>(tables: &T, listener: u16, member: u16, forward: Stage, back: Stage) {
    if !is_over(forward, back) {
        ended(tables, listener, member);
    }
}

/// The client's direction went from one stage to the other, later one: is the
/// flow over by that?
#[inline(always)]
pub(crate) fn client_closes<F: Family, T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    listener: u16,
    before: Stage,
    after: Ctl,
    vip_and_transport: u16,
) {
    let Some((_, back)) = back_at::<F, T>(tables, moment, after, vip_and_transport) else { return };
    if !is_over(before, back.stage()) && is_over(after.stage(), back.stage()) {
        ended(tables, listener, after.member());
    }
}

/// The same for the member's direction of the flow with a key.
#[inline(always)]
pub(crate) fn member_closes<F: Family, T: Tables>(
    tables: &T,
    moment: &Moment<'_>,
    key: F::Key,
    before: Stage,
    after: Ctl,
) {
    let Some(forward) = find::<F, T>(tables, moment, key) else { return };
    let forward = forward.ctl.stage();
    if !is_over(forward, before) && is_over(forward, after.stage()) {
        ended(tables, F::key_parts(key).2, after.member());
    }
}
