//! keepalived in the place of a balancer: whom Krater understands, and is
//! measured against.
//!
//! It has the VIP as an address of its interface, so its host answers echo
//! requests to it. Octavia's settings, as far as they are about failing over.

use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    addresses::{Family, Side},
    pair::{FRONT, Node, Pair},
    pool_file::{VIRTUAL_ROUTER_ID, priority},
    process::Process,
    record::Recorder,
    wait,
};

/// The password of [`Dialect::UnicastV2`].
pub const PASSWORD: &str = "krater77";

/// What it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// VRRPv3 by multicast.
    MulticastV3,
    /// VRRPv3 to the other balancer alone.
    UnicastV3,
    /// VRRPv2 to the other balancer alone, with a password: what Octavia writes.
    UnicastV2,
}

/// How it is set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What it speaks.
    pub dialect: Dialect,
    /// Of which family.
    pub family: Family,
    /// Its priority.
    pub priority: u8,
    /// Between adverts; whole seconds in VRRPv2.
    pub advert_interval: Duration,
    /// Whether the higher priority takes over from a lower one that works.
    pub preempt: bool,
    /// Whether clients learn the virtual MAC.
    pub virtual_mac: bool,
}

impl Settings {
    /// VRRPv3 by multicast over IPv4 with this side's usual priority; whoever
    /// is Active stays so, and clients learn the interface's MAC.
    #[must_use]
    pub const fn new(side: Side, advert_interval: Duration) -> Self {
        Self {
            dialect: Dialect::MulticastV3,
            family: Family::V4,
            priority: priority(side),
            advert_interval,
            preempt: false,
            virtual_mac: false,
        }
    }

    /// The configuration file of one side.
    #[must_use]
    pub fn text(&self, side: Side) -> String {
        let version = if self.dialect == Dialect::UnicastV2 { 2 } else { 3 };
        let mut lines = vec![
            "state BACKUP".to_owned(),
            format!("version {version}"),
            format!("interface {FRONT}"),
            format!("virtual_router_id {VIRTUAL_ROUTER_ID}"),
            format!("priority {}", self.priority),
            format!("advert_int {}", self.advert_interval.as_secs_f64()),
            "garp_master_refresh 5".to_owned(),
            "garp_master_refresh_repeat 2".to_owned(),
            "accept".to_owned(),
        ];
        if !self.preempt {
            lines.push("nopreempt".to_owned());
        }
        if self.virtual_mac {
            lines.push("use_vmac".to_owned());
        }
        if self.dialect != Dialect::MulticastV3 {
            lines.push(format!("unicast_src_ip {}", side.front(self.family)));
            lines.push(format!("unicast_peer {{\n    {}\n  }}", side.other().front(self.family)));
        }
        if self.dialect == Dialect::UnicastV2 {
            lines.push(format!("authentication {{\n    auth_type PASS\n    auth_pass {PASSWORD}\n  }}"));
        }
        let addresses = match self.family {
            Family::V4 => format!("{}/24", Family::V4.vip()),
            // The first one has to be link-local.
            Family::V6 => format!("fe80::200:5eff:fe00:2{VIRTUAL_ROUTER_ID:02x}/64\n    {}/64", Family::V6.vip()),
        };
        lines.push(format!("virtual_ipaddress {{\n    {addresses}\n  }}"));
        let mut text = format!("global_defs {{\n  router_id {}\n}}\n\nvrrp_instance vip {{\n", side.node());
        for line in lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {line}");
        }
        text + "}\n"
    }
}

/// A keepalived in a namespace, running or not. Dropping it kills it.
#[derive(Debug)]
pub struct Keepalived {
    process: Option<Process>,
    recorder: Recorder,
    namespace: String,
    directory: PathBuf,
    vip: IpAddr,
}

impl Keepalived {
    /// Starts it in the place of one balancer.
    ///
    /// # Errors
    /// When its file cannot be written or it cannot be started.
    pub fn start(pair: &Pair, side: Side, settings: &Settings) -> Result<Self> {
        let node: &Node = pair.node(side);
        let directory = node.paths().directory.clone();
        fs::write(directory.join("keepalived.conf"), settings.text(side)).context("write keepalived.conf")?;
        let mut keepalived = Self {
            process: None,
            recorder: pair.recorder().clone(),
            namespace: node.namespace().name().to_owned(),
            directory,
            vip: settings.family.vip(),
        };
        keepalived.restart()?;
        Ok(keepalived)
    }

    /// Starts it again, after it was stopped or killed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        let file = |name: &str| self.directory.join(name).to_string_lossy().into_owned();
        let (conf, pid, vrrp_pid) = (file("keepalived.conf"), file("keepalived.pid"), file("keepalived-vrrp.pid"));
        // What an earlier one left when it was killed: a new one would take it for a sign that it runs already.
        for stale in [&pid, &vrrp_pid] {
            let _ = fs::remove_file(stale);
        }
        let arguments = ["-n", "-l", "-D", "-G", "-P", "-f", &conf, "-p", &pid, "-r", &vrrp_pid];
        let name = format!("keepalived in {}", self.namespace);
        let program = Path::new("keepalived");
        let process = Process::spawn(&self.recorder, &self.namespace, &name, program, &arguments, &self.log_path())?;
        self.process = Some(process);
        let looking = || Ok(self.child().map(|_| true).unwrap_or(false));
        wait::until_true("keepalived to have started", Duration::from_secs(5), looking)
            .map(drop)
            .with_context(|| self.log_tail())
    }

    /// Whether its host has the VIP.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn is_active(&self) -> Result<bool> {
        let shown =
            super::command::run("ip", &["-n", &self.namespace, "-o", "address", "show", "to", &self.vip_text()])?;
        Ok(!shown.trim().is_empty())
    }

    fn vip_text(&self) -> String {
        self.vip.to_string()
    }

    /// How many times it became Active or ceased to be so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let states = ["Entering MASTER STATE", "Entering BACKUP STATE", "Entering FAULT STATE"];
        let count = log.lines().filter(|line| states.iter().any(|state| line.contains(state))).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// When it is not there, or does not within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<()> {
        self.ask_to_end()?;
        self.wait_end(limit)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> Result<()> {
        if let Some(process) = &mut self.process {
            process.wait_end(limit)?;
        }
        self.process = None;
        Ok(())
    }

    /// Asks it to end, and does not wait.
    ///
    /// # Errors
    /// When it is not there.
    pub fn ask_to_end(&self) -> Result<()> {
        self.process.as_ref().context("keepalived is not running")?.signal(Signal::SIGTERM)
    }

    /// Kills both of its processes at once, so that neither has a chance to do
    /// anything about it.
    ///
    /// # Errors
    /// When it does not say which its child is.
    pub fn kill(&mut self) -> Result<()> {
        // The child goes first: it is asked to end when its parent is gone.
        let child = self.child()?;
        let _ = kill(child, Signal::SIGKILL);
        self.process = None;
        Ok(())
    }

    fn child(&self) -> Result<Pid> {
        let file = self.directory.join("keepalived-vrrp.pid");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let number: i32 = text.trim().parse().with_context(|| format!("{} holds no number", file.display()))?;
        ensure!(number > 1, "{} holds {number}", file.display());
        Ok(Pid::from_raw(number))
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("keepalived.log")
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        super::process::log_tail("keepalived", &self.log_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_octavia_writes_is_unicast_with_a_password() {
        let settings = Settings { dialect: Dialect::UnicastV2, ..Settings::new(Side::B, Duration::from_secs(1)) };
        let text = settings.text(Side::B);
        for line in ["version 2", "advert_int 1\n", "unicast_src_ip 10.77.0.4", "auth_type PASS", "priority 90"] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
        assert!(text.contains("unicast_peer {\n    10.77.0.3"), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }

    #[test]
    fn an_ipv6_router_names_its_link_local_address_first() {
        let settings = Settings { family: Family::V6, ..Settings::new(Side::A, Duration::from_millis(10)) };
        let text = settings.text(Side::A);
        let at = |what: &str| text.find(what).unwrap_or(usize::MAX);
        assert!(at("fe80::200:5eff:fe00:233/64") < at("fd77::10/64"), "{text}");
        assert!(text.contains("advert_int 0.01\n"), "{text}");
    }
}
