//! Flow sync: the flows that one balancer confirmed become known to the other.
