//! Health monitors as members and operators meet them: a real lbd in network
//! namespaces, real servers of every manner, and what lbctl says of them.
//!
//! Every test raises a rig of its own. They need root; they mostly wait, so some of
//! them run at a time. Nothing here measures time but with bounds of many seconds.
//! A machine that cannot run them fails them.
#![forbid(unsafe_code)]

mod health {
    pub(crate) mod scene;

    mod changes;
    mod datagrams;
    mod echo;
    mod flapping;
    mod grpc;
    mod handshakes;
    mod manners;
    mod next_hops;
    mod operator;
    mod pair;
    mod panic;
    mod sctp;
    mod tls;
    mod traffic;
    mod web;
}
