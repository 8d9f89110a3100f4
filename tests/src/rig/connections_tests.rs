#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, TcpListener};

use super::*;

fn plan(target: SocketAddr) -> Plan {
    Plan { target, sources: Vec::new(), count: 40, busy: 10, period: Duration::from_millis(50) }
}

/// Holds connections from wherever this runs, for as long as `meanwhile` takes.
fn held(plan: Plan, meanwhile: impl FnOnce()) -> Outcome {
    let (settle, settles) = mpsc::channel();
    let (opened, opens) = mpsc::channel();
    let thread = thread::spawn(move || hold(plan, &opened, &settles));
    opens.recv().unwrap();
    meanwhile();
    settle.send(Duration::from_secs(5)).unwrap();
    thread.join().unwrap().unwrap()
}

#[test]
fn every_line_has_the_same_length() {
    assert_eq!(line(0, 0).len(), LINE);
    assert_eq!(line(12_345_678, 9_999_999_999).len(), LINE);
}

#[test]
fn connections_to_an_echo_server_all_resume() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    thread::spawn(move || echo::serve(&[target]));
    thread::sleep(Duration::from_millis(200));
    let outcome = held(plan(target), || thread::sleep(Duration::from_millis(300)));
    assert_eq!((outcome.opened, outcome.busy, outcome.resumed), (40, 10, 40));
    assert_eq!(outcome.complaints(), "");
}

#[test]
fn a_server_that_closes_or_invents_is_found_out() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (stream, number) in listener.incoming().zip(0..) {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut text = [0; LINE];
                stream.read_exact(&mut text).unwrap();
                stream.write_all(&text).unwrap();
                if number % 2 == 0 {
                    // What was not read makes this a reset.
                    thread::sleep(Duration::from_millis(600));
                } else {
                    stream.read_exact(&mut text).unwrap();
                    text[0] ^= 1;
                    stream.write_all(&text).unwrap();
                    thread::sleep(Duration::from_secs(10));
                }
            });
        }
    });
    let outcome = held(Plan { busy: 40, ..plan(target) }, || thread::sleep(Duration::from_millis(1200)));
    assert_eq!((outcome.wrong, outcome.resets, outcome.resumed), (20, 20, 0), "{outcome:?}");
    assert!(outcome.complaints().contains("20 ended (reset)"));
}
