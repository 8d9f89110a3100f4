//! Packets in the kernel's program and in the same code on the host, which must
//! agree on each other's every byte and with what was to become of them.
//!
//! The program is loaded by the real verifier and run by `BPF_PROG_TEST_RUN`,
//! each time with pins and a network namespace of its own. That takes root; a
//! machine that cannot do it fails the tests.
#![forbid(unsafe_code)]

mod prog {
    mod agreement;
    mod both_worlds;
    mod consistency;
    mod differential;
    mod exchange;
    mod program;
}
