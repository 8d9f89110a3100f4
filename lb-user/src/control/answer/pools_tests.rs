#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::num::NonZeroU16;

use super::super::scene::Scene;
use crate::{
    control::protocol::{Request, Response},
    model::{Algorithm, ForwardMode},
};

/// The second pool's mode and algorithm as an answer has them.
fn shown(answer: Response) -> (String, String) {
    let Response::Pools(pools) = answer else { panic!("{answer:?}") };
    (pools[1].forward_mode.clone(), pools[1].lb_algorithm.clone())
}

#[test]
fn a_pool_shows_its_mode_and_algorithm_offline_too() {
    let all_pools = Request::Pools { select: None };
    let with_each = |mode| Algorithm::ALL.map(|algorithm| (mode, algorithm));
    for (mode, algorithm) in ForwardMode::ALL.into_iter().flat_map(with_each) {
        let mut scene = Scene::empty();
        scene.pool(1).forward_mode = mode;
        scene.pool(1).lb_algorithm = algorithm;
        // A member that is sent to directly answers on the listener's port.
        scene.pool(1).members.iter_mut().for_each(|member| member.protocol_port = NonZeroU16::new(53).unwrap());
        scene.settle();
        let wanted = (mode.name().to_owned(), algorithm.name().to_owned());
        assert_eq!(shown(scene.ask(&all_pools)), wanted);
        assert_eq!(shown(scene.ask_offline(&all_pools)), wanted);
    }
}
