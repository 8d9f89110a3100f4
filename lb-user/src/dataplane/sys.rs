//! The few system calls aya does not wrap.
