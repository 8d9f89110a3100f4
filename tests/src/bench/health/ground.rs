//! Where health monitors are measured: a client, a balancer, and a host that is ten
//! thousand members.
//!
//! ```text
//!  client eth0 ── front0 balancer back0 ── eth0 members: 10.64.0.0/14, all of it local
//! ```
//!
//! The members are a route: the kernel answers for every address of the network, and a
//! server that listens everywhere is all of them. The balancer reaches them by one
//! neighbour.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use serde_json::Value;

use super::pool::{MEMBERS, PROBED_PORT, VIP};
use crate::rig::{
    Paths, Pins, begin, binaries, command,
    http::{self, Source},
    lbd::Lbd,
    netns::NetNs,
    process::Process,
    record::Recorder,
    wait,
};

/// The balancer's interfaces.
pub(super) const INTERFACES: [&str; 2] = ["front0", "back0"];
const RISING: Duration = Duration::from_secs(60);

/// Namespaces with a web server at every member. Fields are dropped in order.
#[derive(Debug)]
pub(super) struct Ground {
    server: Option<Process>,
    client: NetNs,
    balancer: NetNs,
    members: NetNs,
    _pins: Pins,
    paths: Paths,
    cpus: [CpuSet; 2],
    recorder: Recorder,
}

impl Ground {
    /// Raises it.
    ///
    /// # Errors
    /// Without root or the tools.
    pub(super) fn up() -> Result<Self> {
        let recorder = begin()?;
        let record = recorder.snapshot();
        let pins = Pins::at(record.pin_path.clone());
        let namespace = |node: &str| NetNs::create(&recorder, &format!("kr-{}-{node}", record.id));
        let (client, balancer, members) = (namespace("client")?, namespace("lb")?, namespace("members")?);
        let paths = Paths::below(record.directory, record.pin_path);
        let cpus = two_sets()?;
        tie(&cpus[1])?;
        let mut ground = Self { server: None, client, balancer, members, _pins: pins, paths, cpus, recorder };
        ground.connect().context("connect the namespaces")?;
        ground.serve().context("start the members' web server")?;
        Ok(ground)
    }

    pub(super) const fn paths(&self) -> &Paths {
        &self.paths
    }

    pub(super) const fn client(&self) -> &NetNs {
        &self.client
    }

    pub(super) const fn members(&self) -> &NetNs {
        &self.members
    }

    fn connect(&self) -> Result<()> {
        let (client, balancer, members) = (self.client.name(), self.balancer.name(), self.members.name());
        let [front, back] = INTERFACES;
        command::run_with_input(
            "ip",
            &["-batch", "-"],
            &format!(
                "link add eth0 netns {client} type veth peer name {front} netns {balancer}\n\
                 link add eth0 netns {members} type veth peer name {back} netns {balancer}\n"
            ),
        )?;
        self.client.ip_batch("address add 10.77.0.100/24 dev eth0\nlink set eth0 up\n")?;
        self.balancer.ip_batch(&format!(
            "address add 10.77.0.1/24 dev {front}\nlink set {front} up\naddress add 10.60.0.1/24 dev {back}\n\
             link set {back} up\nroute add {MEMBERS} via 10.60.0.2\n"
        ))?;
        self.members.ip_batch(&format!(
            "address add 10.60.0.2/24 dev eth0\nlink set eth0 up\nroute add local {MEMBERS} dev lo\n\
             route add default via 10.60.0.1\n"
        ))?;
        // Ten thousand SYNs a second are no flood here.
        self.members.set_parameters(&[
            ("ipv4/tcp_max_syn_backlog", "65535"),
            ("core/somaxconn", "65535"),
            ("ipv4/tcp_max_tw_buckets", "4096"),
        ])?;
        for namespace in [&self.client, &self.members] {
            namespace.run("ethtool", &["-K", "eth0", "tx", "off", "tso", "off", "gso", "off"])?;
            binaries::attach_pass(namespace, "eth0")?;
        }
        self.keep_members_away()
    }

    /// The members' share of the work is another machine's: it is done on another CPU,
    /// where there is one. Without this, whoever sends a probe would be charged for the
    /// server's answer to it.
    fn keep_members_away(&self) -> Result<()> {
        let mask = (0..CpuSet::count().min(64)).filter(|cpu| self.cpus[1].is_set(*cpu).unwrap_or(false));
        let mask = mask.fold(0u64, |mask, cpu| mask | 1 << cpu);
        let (high, low) = (mask >> 32, mask & 0xffff_ffff);
        let text = if high == 0 { format!("{low:x}") } else { format!("{high:x},{low:08x}") };
        // A fresh /sys shows the interfaces of the namespace it was mounted in.
        let script = format!("mount -t sysfs sysfs /sys && echo {text} > /sys/class/net/eth0/queues/rx-0/rps_cpus");
        self.members.run("unshare", &["--mount", "sh", "-c", &script]).map(drop)
    }

    fn serve(&mut self) -> Result<()> {
        let directory = self.paths.directory.join("web");
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        fs::write(directory.join("nginx.conf"), configuration(&directory)).context("write nginx.conf")?;
        let prefix = directory.to_string_lossy();
        let arguments = ["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"];
        let log = directory.join("nginx.log");
        let server =
            Process::spawn(&self.recorder, self.members.name(), "nginx", Path::new("nginx"), &arguments, &log)?;
        let tail = server.log_tail();
        self.server = Some(server);
        let one = std::net::SocketAddr::new(super::pool::address(0).into(), PROBED_PORT);
        self.members
            .enter(|| {
                wait::until_true("nginx to answer", Duration::from_secs(5), || {
                    Ok(http::get(one, "/", Source::default()).map(|_| true)?)
                })
            })
            .map(drop)
            .context(tail)
    }

    /// Starts lbd on a CPU of its own, where there are two.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) fn start(&self, pool_file: &str) -> Result<Lbd> {
        // Who is started runs where its starter does.
        tie(&self.cpus[0])?;
        let lbd = Lbd::start_in(&self.recorder, &self.balancer, &self.paths, pool_file);
        tie(&self.cpus[1])?;
        lbd
    }

    /// Removes what an lbd that has ended left in the kernel.
    ///
    /// # Errors
    /// When that cannot be.
    pub(super) fn clear(&self) -> Result<()> {
        crate::rig::record::remove_directory(&self.paths.pin_path)
    }
}

/// Waits until so many members are found up; returns how long it took.
///
/// # Errors
/// When they are not in time: with what lbd says then.
pub(super) fn wait_up(lbd: &Lbd, members: u32) -> Result<Duration> {
    let begun = Instant::now();
    wait::until_true(&format!("{members} members to be up"), RISING, || {
        let summary = summary(lbd)?;
        ensure!(summary["up"].as_u64() == Some(u64::from(members)), "`lbctl health summary` says {summary}");
        Ok(true)
    })
    .with_context(|| lbd.log_tail())?;
    Ok(begun.elapsed())
}

/// What `lbctl health summary` says.
///
/// # Errors
/// When lbctl fails.
pub(super) fn summary(lbd: &Lbd) -> Result<Value> {
    lbd.ctl().json(&["health", "summary"])
}

/// The CPUs of lbd and those of everybody else: the first one, and the rest.
fn two_sets() -> Result<[CpuSet; 2]> {
    let all = sched_getaffinity(Pid::from_raw(0)).context("ask which CPUs may be used")?;
    let mut cpus = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap_or(false));
    let first = cpus.next().context("no CPU may be used")?;
    let (mut own, mut others) = (CpuSet::new(), CpuSet::new());
    own.set(first)?;
    for cpu in cpus {
        others.set(cpu)?;
    }
    let alone = others == CpuSet::new();
    Ok(if alone { [own, own] } else { [own, others] })
}

/// Ties this thread, and what it starts from now on, to these CPUs.
fn tie(cpus: &CpuSet) -> Result<()> {
    sched_setaffinity(Pid::from_raw(0), cpus).context("choose the CPUs to run on")
}

/// The threads of a process.
pub(super) fn threads(pid: i32) -> Result<Vec<i32>> {
    let directory = PathBuf::from(format!("/proc/{pid}/task"));
    let entries = fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    let mut scratch = String::new();
    for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        scratch += &format!("  {what}_temp_path {directory}/scratch-{what};\n");
    }
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {directory}/nginx.pid;\n\
         error_log stderr warn;\nevents {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n  default_type text/plain;\n{scratch}  \
         server {{\n    listen 0.0.0.0:{PROBED_PORT} backlog=65535;\n    location / {{ return 200 \"well\"; }}\n    \
         add_header X-Member all always;\n  }}\n}}\n"
    )
}

/// The VIP's UDP listener of the first pool.
pub(super) fn service() -> std::net::SocketAddr {
    std::net::SocketAddr::new(VIP.into(), super::pool::FIRST_LISTENER)
}
