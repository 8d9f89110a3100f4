#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;

#[test]
fn a_long_list_of_names_is_cut() {
    let names = Names((0..18).map(|n| format!("eth{n}")).collect()).to_string();
    assert!(names.starts_with("eth0, eth1, ") && names.ends_with("eth15 and 2 more"), "{names}");
    assert_eq!(Names(vec!["lo".to_owned()]).to_string(), "lo");
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_refused_with_those_that_are() {
    let error = interface("krater-none").await.unwrap_err();
    let NetError::NoSuchInterface { name, there } = &error else { panic!("{error}") };
    assert_eq!(name, "krater-none");
    assert!(there.0.contains(&"lo".to_owned()), "{error}");
    assert!(error.to_string().starts_with("there is no interface krater-none; there are: "), "{error}");
}

#[tokio::test]
async fn the_loopback_interface_is_no_ethernet_interface() {
    let error = interface("lo").await.unwrap_err();
    assert!(matches!(&error, NetError::NotEthernet { name } if name == "lo"), "{error}");
}

#[test]
fn outside_of_a_runtime_nothing_is_watched() {
    assert!(matches!(NextHopWatch::start(), Err(NetError::NoRuntime)));
}
