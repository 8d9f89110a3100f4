//! The checks that need the whole model.

use super::LoadBalancer;

/// Where in the model something is wrong, as indices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A load balancer.
    LoadBalancer(usize),
    /// A listener of a load balancer.
    Listener(usize, usize),
    /// A pool of a load balancer.
    Pool(usize, usize),
    /// A member of a pool of a load balancer.
    Member(usize, usize, usize),
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ModelErrorKind {}

/// A violation and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelError {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: ModelErrorKind,
}

pub(super) fn check(_load_balancers: &[LoadBalancer]) -> Result<(), Vec<ModelError>> {
    Ok(())
}
