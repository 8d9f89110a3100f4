//! The balancer as its clients, its members and its operator meet it: a real
//! lbd in network namespaces, real servers, real sockets.
//!
//! Every test raises a rig of its own. They need root and run one at a time
//! (`--test-threads=1`), because they measure time. A machine that cannot run
//! them fails them.
#![forbid(unsafe_code)]

mod netns {
    pub(crate) mod scene;

    mod changes;
    mod choices;
    mod daemon;
    mod explain;
    mod forwarding;
    mod modes;
    mod neighbours;
    mod next_hops;
    mod operator;
}
