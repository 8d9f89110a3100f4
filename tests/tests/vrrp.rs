//! The runner of the virtual routers as its network meets it: real sockets in
//! network namespaces, real time, crafted adverts, and keepalived as the
//! router on the other side.
//!
//! Every test makes a segment of its own. They need root and run one at a time
//! (`--test-threads=1`), because they measure time. A machine that cannot run
//! them fails them.
#![forbid(unsafe_code)]

mod vrrp {
    pub(crate) mod capture;
    pub(crate) mod craft;
    pub(crate) mod journal;
    pub(crate) mod keepalived;
    pub(crate) mod node;
    pub(crate) mod segment;

    mod crowds;
    mod election;
    mod flood;
    mod handover;
    mod interop;
    mod refusals;
    mod stalls;
    mod timing;
    mod wishes;
}
