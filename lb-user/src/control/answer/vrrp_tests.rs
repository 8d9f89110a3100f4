#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use super::super::{answer, scene::Scene};
use super::*;
use crate::{
    cli::sample,
    control::{
        protocol::{Request, Response},
        view::{
            sync::SyncStatusView,
            vrrp::{PeerView, VrrpStatusView},
        },
    },
};

fn named(name: &str) -> VrrpView {
    VrrpView { name: name.to_owned(), ..sample::vrrp() }
}

fn backup() -> VrrpView {
    VrrpView { state: VrrpState::Backup, carrying: false, ..sample::vrrp() }
}

/// What lbd answers while it has these instances and flow sync.
fn ask(instances: &[VrrpView], request: &Request) -> Response {
    let (scene, fallbacks, sync) = (Scene::new(), BTreeMap::new(), sample::sync());
    answer(&Knowledge { vrrp: instances, sync: Some(&sync), ..scene.knowledge(&fallbacks) }, request)
}

fn refused(response: Response) -> Refusal {
    match response {
        Response::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn instances_are_listed_or_selected_by_name() {
    let both = [named("front"), named("inside")];
    let select = |name: Option<&str>| ask(&both, &Request::Vrrp { select: name.map(str::to_owned) });
    assert_eq!(select(None), Response::Vrrp(both.to_vec()));
    assert_eq!(select(Some("inside")), Response::Vrrp(vec![named("inside")]));
    let refusal = refused(select(Some("font")));
    assert_eq!(refusal.code, RefusalCode::NotFound);
    assert!(refusal.message.contains("no VRRP instance \"font\"; did you mean front?"), "{refusal}");
}

#[test]
fn status_has_both_in_short() {
    let Response::Status(status) = ask(&[named("front")], &Request::Status) else { panic!("no status") };
    let peer = sample::vrrp().peers[0].clone();
    assert_eq!(
        status.vrrp,
        [VrrpStatusView {
            name: "front".to_owned(),
            state: VrrpState::Active,
            state_millis: 11_045_000,
            carrying: true,
            paused: false,
            fault: None,
            heard_last: Some((peer.address, peer.heard_millis)),
        }]
    );
    assert_eq!(status.sync, Some(SyncStatusView::from(&sample::sync())));
}

#[test]
fn an_lbd_without_sync_says_so_and_the_maps_know_nothing() {
    let scene = Scene::new();
    assert_eq!(scene.ask(&Request::Sync), Response::Sync(None));
    assert_eq!(scene.ask(&Request::Vrrp { select: None }), Response::Vrrp(Vec::new()));
    let events = Request::Events { after: None, epoch: None, wait_ms: 0 };
    for request in [Request::Sync, Request::Vrrp { select: None }, events] {
        let refusal = refused(scene.ask_offline(&request));
        assert!(refusal.code == RefusalCode::Invalid && refusal.message.contains("lbd"), "{request:?}: {refusal}");
    }
}

#[test]
fn looking_up_changes_nothing() {
    let command = Request::VrrpCommand { select: "front".into(), command: VrrpCommand::Failover };
    assert!(!command.is_read_only());
    assert_eq!(refused(ask(&[named("front")], &command)).code, RefusalCode::Invalid);
}

#[test]
fn an_active_can_be_moved_and_anybody_else_not() {
    let active = named("front");
    let told = vrrp_command(std::slice::from_ref(&active), "front", VrrpCommand::Failover).unwrap();
    assert_eq!(told, VrrpCommandView { instance: active, notes: Vec::new() });
    let refusal = vrrp_command(&[backup()], "front", VrrpCommand::Failover).unwrap_err();
    assert!(
        refusal.message.contains("BACKUP here") && refusal.message.contains("192.0.2.3 is the Active"),
        "{refusal}"
    );
    // Who has only said goodbye is no Active.
    let left = PeerView { priority: 0, ..sample::vrrp().peers[0].clone() };
    let refusal =
        vrrp_command(&[VrrpView { peers: vec![left], ..backup() }], "front", VrrpCommand::Failover).unwrap_err();
    assert!(!refusal.message.contains("192.0.2.3"), "{refusal}");
    let out = VrrpView { state: VrrpState::Initialize, reason: "eth0 is down".into(), ..backup() };
    let refusal = vrrp_command(&[out], "front", VrrpCommand::Failover).unwrap_err();
    assert!(refusal.message.contains("INITIALIZE here") && refusal.message.contains("eth0 is down"), "{refusal}");
}

#[test]
fn what_changes_nothing_is_done_and_noted() {
    let notes = |view: VrrpView, command| vrrp_command(&[view], "front", command).unwrap().notes.join("\n");
    assert_eq!(notes(backup(), VrrpCommand::Pause), "");
    assert_eq!(notes(VrrpView { paused: true, ..backup() }, VrrpCommand::Pause), "front was paused already");
    assert_eq!(notes(VrrpView { paused: true, ..backup() }, VrrpCommand::Resume), "");
    assert_eq!(notes(VrrpView { yielded: true, ..backup() }, VrrpCommand::Resume), "");
    assert!(notes(backup(), VrrpCommand::Resume).contains("takes part already"));
    let faulty = VrrpView { paused: true, fault: Some("eth0 is down".into()), ..backup() };
    assert!(notes(faulty, VrrpCommand::Resume).contains("stays out as long as this lasts: eth0 is down"));
}
