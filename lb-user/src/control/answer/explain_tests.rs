#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};

use super::super::scene::{CLIENT, Scene, VIP};
use crate::{
    control::{
        protocol::{
            MAX_FRAME_BYTES, MAX_PACKETS_EXPLAINED, PacketSketch, PacketsAsked, Request, Response, SketchedProtocol,
        },
        view::explain::{ExplainView, Outcome},
    },
    dataplane::Statistics as _,
};

fn datagram(source_port: u16, destination_port: u16) -> PacketsAsked {
    PacketsAsked::Described(PacketSketch {
        protocol: SketchedProtocol::Udp,
        source: IpAddr::V4(CLIENT),
        source_port,
        destination: IpAddr::V4(VIP),
        destination_port,
        tcp_flags: 0,
        payload: 4,
    })
}

fn explained(answer: Response) -> ExplainView {
    let Response::Explained(view) = answer else { panic!("{answer:?}") };
    view
}

fn ask(scene: &Scene, packets: PacketsAsked) -> ExplainView {
    let request = Request::Explain { packets, interface: None };
    let view = explained(scene.ask(&request));
    assert_eq!(explained(scene.ask_offline(&request)), view);
    view
}

#[test]
fn a_packet_goes_where_the_data_path_then_sends_it_and_nothing_has_changed() {
    let scene = Scene::new();
    for client_port in 2000..2032 {
        let events = scene.dataplane.events().unwrap();
        let view = ask(&scene, datagram(client_port, 53)).packets.remove(0);
        assert_eq!(view.verdict, Outcome::Forwarded, "{view:?}");
        assert_eq!(view.listener.as_deref(), Some("web/dns"));
        assert_eq!((view.pool.as_deref(), view.forward_mode.as_deref()), (Some("web/names"), Some("nat")));
        assert_eq!(scene.dataplane.events().unwrap(), events);
        let mut flows = 0;
        scene.dataplane.for_each_flow(&mut |_| flows += 1).unwrap();
        assert_eq!(flows, client_port - 2000);

        let (member, snat_port) = scene.datagram(client_port).unwrap();
        let sent = view.sent.unwrap();
        assert!(sent.contains(&format!("UDP {VIP}:{snat_port} → {member}:8080")), "{sent}");
        let label = view.member.unwrap();
        assert_eq!(label, if member.octets()[3] == 1 { "web/names/m1" } else { "web/names/n2" });
        assert!(view.steps.iter().any(|step| step == "a flow is opened"), "{:?}", view.steps);

        // Its next packet goes the same way, and no flow is opened for it.
        let again = ask(&scene, datagram(client_port, 53)).packets.remove(0);
        assert_eq!((again.sent.unwrap(), again.member.unwrap()), (sent, label));
        assert!(!again.steps.iter().any(|step| step == "a flow is opened"), "{:?}", again.steps);
    }
}

#[test]
fn a_drop_has_its_reason_and_what_to_look_at() {
    let scene = Scene::new();
    let view = ask(&scene, datagram(2000, 9)).packets.remove(0);
    assert_eq!((view.verdict, view.reason.as_deref()), (Outcome::Dropped, Some("no_listener")));
    assert!(view.meaning.unwrap().contains("without listener"));
    assert_eq!((view.sent, view.member), (None, None));
}

#[test]
fn later_packets_meet_what_earlier_ones_have_left() {
    let scene = Scene::new();
    let PacketsAsked::Described(sketch) = datagram(2000, 53) else { unreachable!() };
    let frame = super::frame::drawn(&sketch, lb_common::mac::Mac([2, 0, 0, 0, 0, 2])).unwrap();
    let digits = super::frame::to_hex(&frame);
    let view = ask(&scene, PacketsAsked::Frames(vec![digits.clone(), digits]));
    let opens = |at: usize| view.packets[at].steps.iter().any(|step| step == "a flow is opened");
    assert!(opens(0) && !opens(1), "{view:?}");
    assert_eq!(view.packets[0].sent, view.packets[1].sent);
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_reason() {
    let scene = Scene::new();
    let long = "00".repeat(MAX_FRAME_BYTES + 1);
    let mixed = PacketsAsked::Described(PacketSketch {
        protocol: SketchedProtocol::Tcp,
        source: "2001:db8::1".parse().unwrap(),
        source_port: 1,
        destination: IpAddr::V4(Ipv4Addr::LOCALHOST),
        destination_port: 1,
        tcp_flags: 0,
        payload: 0,
    });
    for (packets, interface, words) in [
        (datagram(1, 53), Some("eth9"), "not attached to eth9; it is attached to: #7, #8"),
        (PacketsAsked::Frames(vec![String::new(); MAX_PACKETS_EXPLAINED + 1]), None, "too many"),
        (PacketsAsked::Frames(vec![long]), None, "longer than 9216"),
        (PacketsAsked::Frames(vec!["xx".to_owned()]), None, "hexadecimal"),
        (mixed, None, "two families"),
    ] {
        let request = Request::Explain { packets, interface: interface.map(str::to_owned) };
        let Response::Refused(refusal) = scene.ask(&request) else { panic!("{words}") };
        assert!(refusal.message.contains(words), "{refusal:?}");
    }
    // Shorter than any header is a frame all the same.
    let short = ask(&scene, PacketsAsked::Frames(vec![String::new(), "00".to_owned()]));
    assert!(short.packets.iter().all(|packet| packet.verdict == Outcome::Passed));
}
