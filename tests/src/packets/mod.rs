//! Packets with what is to become of them, in both worlds.
//!
//! A [`world::World`] has the tables of a data path and decides about frames:
//! the pipeline on the host over ordinary memory ([`world::Host`]), or on the
//! host and in the kernel at once, where both must agree on every byte
//! ([`kernel::Pair`]). [`fixtures`] are written once and run in either.
//!
//! Frames are made by [`spec`] and judged by `etherparse` and by [`model`],
//! none of which shares a line with the pipeline. [`crowd`] sends those of very many
//! connections while a [`schedule`] changes their pool.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what stands here is only ever called by tests")]

pub mod case;
pub mod crowd;
pub mod fixtures;
pub mod kernel;
pub mod maglev;
pub mod model;
pub mod page;
pub mod pair;
pub mod random;
pub mod scene;
pub mod schedule;
pub mod spec;
pub mod telling;
pub mod world;

#[cfg(test)]
mod exchange_property_tests;
#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod flow_table_tests;
#[cfg(test)]
mod property_tests;

#[cfg(test)]
mod tests {
    use super::{
        fixtures::{self, GROUPS},
        world::Host,
    };

    #[test]
    fn fixtures_hold_on_the_host() {
        let mut host = Host::new(true);
        for group in GROUPS {
            fixtures::run(&mut host, group.fixtures);
        }
    }
}
