//! Lookups that the program has once, as functions of their own, and not wherever they
//! are made: the kernel writes other instructions in place of each lookup and moves all
//! that follow, which was half of the time that loading took. A call costs two or three
//! nanoseconds, so the way of most packets does without.
#![allow(unreachable_pub, reason = "the linker is to find them")]
#![allow(unsafe_code, reason = "entry points that the verifier looks at by themselves")]

use lb_common::{
    counters::Event,
    port::{Place, Tags},
};
use lb_ebpf::tables::{Direction, add};

use crate::maps;

const fn direction_of(word: u64) -> Direction {
    if word == 0 { Direction::In } else { Direction::Out }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn once_event(index: u64) -> u64 {
    maps::count_event(index as u32);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn once_listener(id: u64, direction: u64, bytes: u64) -> u64 {
    maps::with_listener(id as u16, |c| add(c, direction_of(direction), bytes));
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn once_member(id: u64, direction: u64, bytes: u64) -> u64 {
    maps::with_member(id as u16, |c| add(c, direction_of(direction), bytes));
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn once_new_flow(listener: u64, member: u64) -> u64 {
    maps::with_listener(listener as u16, |c| c.flows_new += 1);
    maps::with_member(member as u16, |c| c.flows_new += 1);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn once_refused(listener: u64) -> u64 {
    maps::with_listener(listener as u16, |c| c.flows_refused += 1);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn once_port_at(tags: u64, ifindex: u64) -> u64 {
    maps::port_at(Place::new(ifindex as u32, Tags(tags)))
}

/// Counts an event.
#[inline(always)]
pub(crate) fn count(event: Event) {
    once_event(u64::from(event.index()));
}

/// Counts a packet of a listener.
#[inline(always)]
pub(crate) fn count_listener(id: u16, direction: Direction, bytes: u64) {
    once_listener(u64::from(id), direction as u64, bytes);
}

/// Counts a packet of a member.
#[inline(always)]
pub(crate) fn count_member(id: u16, direction: Direction, bytes: u64) {
    once_member(u64::from(id), direction as u64, bytes);
}

/// Counts a new flow.
#[inline(always)]
pub(crate) fn count_new_flow(listener: u16, member: u16) {
    once_new_flow(u64::from(listener), u64::from(member));
}

/// Counts a flow that was refused.
#[inline(always)]
pub(crate) fn count_refused(listener: u16) {
    once_refused(u64::from(listener));
}

/// The number of the port at a place.
#[inline(always)]
pub(crate) fn port_at(place: Place) -> u64 {
    once_port_at(place.tags, u64::from(place.ifindex))
}
