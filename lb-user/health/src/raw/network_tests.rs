//! Probes of hosts behind a wire: two network namespaces that a test makes and removes.
//! They need root, and `ip` of iproute2.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::fd::AsRawFd,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{MsgFlags, SockaddrStorage, recvfrom, sendto},
};
use socket2::{Domain, Protocol as Number, Socket, Type};

use super::{
    tests::{aborts, ask, closed_port, crc, outcomes, question, refused, run},
    *,
};

const PATIENCE: Duration = Duration::from_secs(10);
/// For probes that nothing answers.
const SHORT: Duration = Duration::from_secs(2);

const FAR: [&str; 2] = ["10.63.0.2", "fd63::2"];
const VIP: [&str; 2] = ["10.63.7.7", "fd63:7::7"];
const NOBODY: [&str; 2] = ["10.63.0.99", "fd63::99"];

/// A near and a far host with a wire between them, gone when dropped.
struct Network {
    near: String,
    far: String,
}

impl Network {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        assert!(nix::unistd::geteuid().is_root(), "tests of raw probes need root: run them with sudo");
        let name = format!("krhealth-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let network = Self { near: format!("{name}-near"), far: format!("{name}-far") };
        let Self { near, far } = &network;
        for namespace in [near, far] {
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        ip(&format!("link add wire netns {near} type veth peer name wire netns {far}"));
        for (namespace, host) in [(near, 1), (far, 2)] {
            ip(&format!("-n {namespace} addr add 10.63.0.{host}/24 dev wire"));
            ip(&format!("-n {namespace} addr add fd63::{host}/64 dev wire nodad"));
            ip(&format!("-n {namespace} link set wire up"));
        }
        // Rates of ICMP messages are for networks that are attacked.
        network.far(|| {
            fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0").unwrap();
            fs::write("/proc/sys/net/ipv6/icmp/ratelimit", "0").unwrap();
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        // It takes a second until the ends of a wire know that it is one.
        let echoes = network.ask(&FAR.map(|ip| question(Kind::Ping, at(ip, 0))), PATIENCE);
        assert_eq!(echoes, vec![Outcome::Answers(Answer::Echo); 2]);
        network
    }

    fn near<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.near, work)
    }

    fn far<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.far, work)
    }

    /// What probes from the near host come to.
    fn ask(&self, questions: &[Question], patience: Duration) -> Vec<Outcome> {
        self.near(|| ask(questions, patience))
    }

    /// Straight to the far host, whatever the address.
    fn link(&self) -> Delivery {
        let mac = |text: String| {
            let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
            <[u8; 6]>::try_from(bytes).unwrap()
        };
        let address = |namespace: &str| {
            let shown = ip(&format!("-n {namespace} -o link show wire"));
            let mut words = shown.split_whitespace();
            mac(words.by_ref().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned())
        };
        let interface = self.near(|| nix::net::if_::if_nametoindex("wire").unwrap());
        Delivery::Link { interface, source: address(&self.near), destination: address(&self.far) }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("these tests need `ip` (iproute2)");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Does something on a thread that is in that namespace.
fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            setns(fs::File::open(format!("/run/netns/{namespace}")).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        entered.join().unwrap()
    })
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

const KINDS: [Kind; 4] = [Kind::Tcp(Handshake::Half), Kind::Ping, Kind::UdpConnect, Kind::Sctp];

/// Every kind at each of these addresses.
fn every_kind(ips: &[&str]) -> Vec<Question> {
    let each = |ip: &&str| KINDS.map(|kind| question(kind, at(ip, 80)));
    ips.iter().flat_map(each).collect()
}

fn is_intact(packet: &[u8]) -> bool {
    let mut zeroed = packet.to_vec();
    zeroed[8..12].fill(0);
    packet[8..12] == crc(&zeroed).to_le_bytes()
}

/// The tag that the members of [`Associations`] want to be answered with.
const THEIR_TAG: u32 = 0x7e57_ab1e;
/// A port where INIT is answered with ABORT.
const ABORTING: u16 = 81;
/// One where it is answered badly at first, and more than once.
const BABBLING: u16 = 82;
/// One where it is answered badly only.
const LYING: u16 = 83;

/// A member that speaks SCTP as far as a probe goes, in its own words.
struct Associations {
    stop: Arc<AtomicBool>,
    /// Tags of the aborts that came.
    aborts: mpsc::Receiver<u32>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Associations {
    /// One that is at these addresses.
    fn at(ips: [&str; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, aborts) = mpsc::channel();
        let mut threads = Vec::new();
        for (ip, (domain, header)) in ips.into_iter().zip([(Domain::IPV4, 20), (Domain::IPV6, 0)]) {
            let socket = Socket::new(domain, Type::RAW, Some(Number::from(132))).unwrap();
            socket.bind(&at(ip, 0).into()).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let (stop, told) = (Arc::clone(&stop), told.clone());
            threads.push(thread::spawn(move || {
                let mut buffer = [0; 256];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, from)) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer) else {
                        continue;
                    };
                    for answer in answers(&buffer[header..length], &told) {
                        sendto(socket.as_raw_fd(), &answer, &from.unwrap(), MsgFlags::empty()).unwrap();
                    }
                }
            }));
        }
        Self { stop, aborts, threads }
    }
}

impl Drop for Associations {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What a member sends when that has come.
fn answers(packet: &[u8], aborts: &mpsc::Sender<u32>) -> Vec<Vec<u8>> {
    assert!(is_intact(packet), "a bad checksum: {packet:02x?}");
    let tag = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    let port = u16::from_be_bytes([packet[2], packet[3]]);
    if packet[12] == 6 {
        aborts.send(tag(4)).unwrap();
        return Vec::new();
    }
    // INIT, its length, a verification tag of 0, and tag, window, streams and number of it.
    assert_eq!((packet[12], &packet[14..16], tag(4), packet.len()), (1, &[0, 20][..], 0, 32));
    let chunk = |kind: u8, verification: u32, body: &[u8]| {
        let mut answer = [&packet[2..4], &packet[..2], &verification.to_be_bytes(), &[0; 4], &[kind, 0]].concat();
        answer.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
        answer.extend(body);
        let sum = crc(&answer);
        answer[8..12].copy_from_slice(&sum.to_le_bytes());
        answer
    };
    let body =
        [&THEIR_TAG.to_be_bytes()[..], &[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1], &[0, 7, 0, 8, 1, 2, 3, 4]].concat();
    let good = chunk(2, tag(16), &body);
    let bad = [
        chunk(2, tag(16) ^ 1, &body),
        chunk(6, tag(16) ^ 1, &[]),
        chunk(2, tag(16), &[0; 16]),
        chunk(2, tag(16), &[]),
        chunk(14, tag(16), &[]),
        good[..14].to_vec(),
        good[..3].to_vec(),
        vec![0xff; 200],
    ];
    match port {
        ABORTING => vec![chunk(6, tag(16), &[])],
        BABBLING => bad.into_iter().chain([good.clone(), good.clone(), good]).collect(),
        LYING => bad.to_vec(),
        _ => vec![good],
    }
}

#[test]
fn sctp_tells_apart_who_accepts_who_aborts_and_who_lies_and_leaves_nothing_behind() {
    let network = Network::new();
    let member = network.far(|| Associations::at(FAR));
    let sctp = |ip: &&str| [80, ABORTING, BABBLING, LYING].map(|port| question(Kind::Sctp, at(ip, port)));
    let questions: Vec<Question> = FAR.iter().flat_map(sctp).collect();
    let accepts = Outcome::Answers(Answer::InitAck);
    let silent = Outcome::Fails(Failure::Timeout { patience: SHORT, missing: "INIT ACK" });
    let wanted = [accepts.clone(), aborts(), accepts, silent];
    assert_eq!(network.ask(&questions, SHORT), [wanted.clone(), wanted].concat());
    let tags: Vec<u32> = (0..4).map(|_| member.aborts.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(tags, [THEIR_TAG; 4]);
    assert!(member.aborts.recv_timeout(SHORT).is_err(), "one for each, and not for the copies");
}

#[test]
fn a_host_without_sctp_says_so_and_the_failure_names_it() {
    let network = Network::new();
    let questions = FAR.map(|ip| question(Kind::Sctp, at(ip, 80)));
    for outcome in network.ask(&questions, PATIENCE) {
        assert_eq!(outcome.to_string(), "the host has no SCTP (ICMP protocol unreachable)");
    }
}

#[test]
fn a_neighbour_that_is_not_there_fails_long_before_the_deadline_and_delays_no_other() {
    let network = Network::new();
    network.near(|| {
        run(async {
            let mut prober = RawProber::new();
            let nobody = every_kind(&NOBODY);
            assert_eq!(
                outcomes(&mut prober, &nobody, PATIENCE).await,
                vec![Outcome::Fails(Failure::Kernel(libc::EHOSTUNREACH)); 8]
            );
            // Errors of the ones are not taken for errors of the others.
            let mixed = [every_kind(&NOBODY), FAR.map(|ip| question(Kind::Ping, at(ip, 0))).to_vec()].concat();
            let outcomes = outcomes(&mut prober, &mixed, PATIENCE).await;
            assert_eq!(outcomes[8..], vec![Outcome::Answers(Answer::Echo); 2]);
        });
    });
}

#[test]
fn packets_that_wait_for_hundreds_of_neighbours_keep_none_from_being_sent_to_others() {
    let network = Network::new();
    let half = |ip: &str| question(Kind::Tcp(Handshake::Half), at(ip, 80));
    let mut questions: Vec<Question> = (0..400).map(|n| half(&format!("fd63::dead:{n:x}"))).collect();
    questions.push(half(FAR[1]));
    let outcomes = network.ask(&questions, SHORT);
    assert_eq!(outcomes[400], refused());
    // None was left out for want of buffers.
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Fails(_))), "{outcomes:?}");
}

#[test]
fn without_a_route_each_kind_fails_and_says_so() {
    let network = Network::new();
    let outcomes = network.ask(&every_kind(&["192.0.2.1", "2001:db8::1"]), PATIENCE);
    assert_eq!(outcomes, vec![Outcome::Fails(Failure::Kernel(libc::ENETUNREACH)); 8]);
}

/// What each kind of probe comes to behind a router that has such a route. A network for
/// each: a router sends no more than five messages at once, and datagrams are not sent again.
fn behind_a_router_that_finds_it(what: &str) -> Vec<String> {
    let network = Network::new();
    let Network { near, far } = &network;
    // A datagram is not sent again, so each message of the router has to come.
    network.far(|| fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0").unwrap());
    ip(&format!("-n {near} route add 10.64.1.0/24 via 10.63.0.2"));
    ip(&format!("-n {near} -6 route add fd64:1::/64 via fd63::2"));
    ip(&format!("-n {far} route add {what} 10.64.1.0/24"));
    ip(&format!("-n {far} -6 route add {what} fd64:1::/64"));
    network.ask(&every_kind(&["10.64.1.1", "fd64:1::1"]), PATIENCE).iter().map(ToString::to_string).collect()
}

#[test]
fn what_a_router_says_ends_each_kind_of_probe() {
    let unreachable = [["no route to host"; 4], ["network unreachable"; 4]].concat();
    assert_eq!(behind_a_router_that_finds_it("unreachable"), unreachable);
    assert_eq!(behind_a_router_that_finds_it("prohibit"), ["a firewall or router on the way forbids it (ICMP)"; 8]);
}

#[test]
fn an_address_of_ours_that_is_gone_is_replaced_by_the_one_that_came() {
    let network = Network::new();
    let near = &network.near;
    let _listener = network.far(|| TcpListener::bind("0.0.0.0:80").unwrap());
    let questions = [question(Kind::Tcp(Handshake::Half), at(FAR[0], 80))];
    network.near(|| {
        run(async {
            let mut prober = RawProber::new();
            for host in [5, 6, 7] {
                assert_eq!(outcomes(&mut prober, &questions, PATIENCE).await, [Outcome::Answers(Answer::Accepts)]);
                ip(&format!("-n {near} addr flush dev wire"));
                ip(&format!("-n {near} addr add 10.63.0.{host}/24 dev wire"));
            }
            assert_eq!(outcomes(&mut prober, &questions, PATIENCE).await, [Outcome::Answers(Answer::Accepts)]);
        });
    });
}

#[test]
fn a_vip_is_probed_at_the_ethernet_address_of_its_member() {
    let network = Network::new();
    let far = &network.far;
    ip(&format!("-n {far} addr add {}/32 dev lo", VIP[0]));
    ip(&format!("-n {far} addr add {}/128 dev lo nodad", VIP[1]));
    let bind = |ip| UdpSocket::bind(at(ip, 80)).unwrap();
    let (member, _listener, echoes, _silent) = network.far(|| {
        let silent = UdpSocket::bind("[::]:81").unwrap();
        (Associations::at(VIP), TcpListener::bind("[::]:80").unwrap(), VIP.map(bind), silent)
    });
    for echo in echoes {
        thread::spawn(move || {
            let (length, from) = echo.recv_from(&mut [0; 64]).unwrap();
            echo.send_to(&vec![0; length], from).unwrap();
        });
    }
    let delivery = network.link();
    let asked = |kind: Kind, ip: &str, port| Question { kind, to: at(ip, port), delivery };
    let questions: Vec<Question> = VIP
        .iter()
        .flat_map(|vip| {
            [
                asked(Kind::Tcp(Handshake::Half), vip, 80),
                asked(Kind::Tcp(Handshake::Half), vip, 81),
                asked(Kind::Ping, vip, 0),
                asked(Kind::UdpConnect, vip, 80),
                asked(Kind::UdpConnect, vip, 81),
                asked(Kind::UdpConnect, vip, 82),
                asked(Kind::Sctp, vip, 80),
                asked(Kind::Sctp, vip, ABORTING),
            ]
        })
        .collect();
    let wanted = [
        Outcome::Answers(Answer::Accepts),
        refused(),
        Outcome::Answers(Answer::Echo),
        Outcome::Answers(Answer::Datagram),
        Outcome::Answers(Answer::Silence),
        closed_port(),
        Outcome::Answers(Answer::InitAck),
        aborts(),
    ];
    assert_eq!(network.ask(&questions, SHORT), [wanted.clone(), wanted].concat());
    // Nor is a connection left half open there: no state 03, SYN-RECV.
    let connections = network.far(|| ["tcp", "tcp6"].map(|f| fs::read_to_string(format!("/proc/thread-self/net/{f}"))));
    for line in connections.map(Result::unwrap).iter().flat_map(|text| text.lines().skip(1)) {
        assert_ne!(line.split_whitespace().nth(3), Some("03"), "{line}");
    }
    for _ in 0..2 {
        assert_eq!(member.aborts.recv_timeout(PATIENCE), Ok(THEIR_TAG));
    }
    // Without it there is no way to the VIP at all.
    let routed: Vec<Question> = every_kind(&VIP);
    assert_eq!(network.ask(&routed, SHORT), vec![Outcome::Fails(Failure::Kernel(libc::ENETUNREACH)); 8]);
}

#[test]
fn a_member_that_has_lost_its_vip_does_not_answer_for_it() {
    let network = Network::new();
    let delivery = network.link();
    let questions = VIP.map(|vip| Question { kind: Kind::Tcp(Handshake::Half), to: at(vip, 80), delivery });
    for outcome in network.ask(&questions, SHORT) {
        assert!(matches!(outcome, Outcome::Fails(_)), "{outcome}");
    }
}

#[test]
fn an_interface_without_an_address_asks_nobody() {
    let network = Network::new();
    ip(&format!("-n {} addr flush dev wire", network.near));
    let delivery = network.link();
    let questions = VIP.map(|vip| Question { kind: Kind::Ping, to: at(vip, 0), delivery });
    for outcome in network.ask(&questions, SHORT) {
        let Outcome::NotAsked(why) = outcome else { panic!("{outcome}") };
        assert!(why.contains("address for answers to come to"), "{why}");
    }
}

/// What the test below runs without the capability.
#[test]
fn without_cap_net_raw_probes_are_not_asked_and_the_reason_names_it() {
    const INNER: &str = "KRATER_TEST_WITHOUT_CAP_NET_RAW";
    if std::env::var_os(INNER).is_none() {
        let name = "raw::network_tests::without_cap_net_raw_probes_are_not_asked_and_the_reason_names_it";
        let output = Command::new("setpriv")
            .args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(INNER, "1")
            .output()
            .expect("this test needs `setpriv` (util-linux)");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    for outcome in ask(&every_kind(&["127.0.0.1", "::1"]), SHORT) {
        match outcome {
            Outcome::NotAsked(why) => assert!(why.contains("CAP_NET_RAW"), "{why}"),
            // UDP needs none.
            outcome => assert_eq!(outcome, closed_port()),
        }
    }
}
