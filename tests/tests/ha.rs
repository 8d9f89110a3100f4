//! Two balancers that stand by each other, as their clients meet them: who has
//! the VIPs, what moves them, and what is lost meanwhile.
//!
//! Every test raises a pair of its own. They need root and run one at a time
//! (`--test-threads=1`), because they measure time. A machine that cannot run
//! them fails them.
#![forbid(unsafe_code)]

mod ha {
    pub(crate) mod scene;

    mod connections;
    mod direct;
    mod election;
    mod moves;
    mod network;
    mod split;
}
