//! The rig's commands, a file each.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::rig::{self, Topology, echo, load, pool_file::Standby, udp};

mod demonstration;
mod down;
mod drive;
mod hints;
mod run;
mod shell;
mod standby;
mod table;

/// What was typed.
#[derive(Parser, Debug)]
#[command(name = "krater-rig", about = "A balancer, a client and three members in network namespaces", version)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Raise a rig, balance real traffic, take a member away and bring it back; or, with --ha, a balancer
    Run {
        #[command(flatten)]
        shape: Shape,
        #[command(flatten)]
        second: Second,
        /// Leave the rig up and print how to look around
        #[arg(long)]
        keep: bool,
        /// Requests of each protocol over each address family
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..=1_000_000))]
        requests: u64,
    },
    /// Raise a rig with a running balancer and leave it up
    Up {
        #[command(flatten)]
        shape: Shape,
        #[command(flatten)]
        second: Second,
    },
    /// Remove the rigs that were left up
    Down {
        /// Those that a running test or `krater-rig run` is using, too
        #[arg(long)]
        all: bool,
    },
    /// Open a shell in a node of the rig that was left up last
    Shell {
        /// client, lb, switch, m1, m2 or m3; lb-a and lb-b with two balancers
        node: String,
        /// The rig, if there are several
        #[arg(long)]
        rig: Option<String>,
        /// A command to run instead of a shell
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Send requests from here and print what became of them as JSON
    Drive {
        /// What to send
        kind: DriveKind,
        /// The listener, as address:port
        target: SocketAddr,
        /// How many
        #[arg(long, default_value_t = 1000)]
        requests: u64,
        /// How many at a time
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
        concurrency: u16,
    },
    /// Answer UDP datagrams with a name and what they say
    ServeUdp {
        /// The name
        #[arg(long)]
        name: String,
        /// Addresses to answer at
        #[arg(long, required = true)]
        bind: Vec<SocketAddr>,
    },
    /// Send back what comes in over TCP
    ServeEcho {
        /// Addresses to answer at
        #[arg(long, required = true)]
        bind: Vec<SocketAddr>,
    },
}

/// What kind of rig is wanted.
#[derive(Args, Clone, Debug)]
struct Shape {
    /// The pool file; its pins, socket and state directory are replaced by the rig's own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Clients, balancer and members on one network
    #[arg(long)]
    one_armed: bool,
    /// Leave L4 checksums to the interfaces of client and members
    #[arg(long)]
    tx_checksum: bool,
}

impl Shape {
    fn options(&self) -> rig::Options {
        let topology = if self.one_armed { Topology::OneArmed } else { Topology::TwoArmed };
        rig::Options { topology, tx_checksum: self.tx_checksum }
    }
}

/// Whether there is a second balancer, and how the two stand by each other.
#[derive(Args, Clone, Debug)]
struct Second {
    /// Two balancers on one network with their clients and members; each makes up for the other
    #[arg(long, conflicts_with_all = ["config", "one_armed", "tx_checksum"])]
    ha: bool,
    /// Milliseconds between adverts
    #[arg(long, value_name = "MS", default_value_t = 100, requires = "ha",
          value_parser = clap::value_parser!(u64).range(10..=40_950))]
    advert_ms: u64,
    /// Send adverts to the other balancer alone
    #[arg(long, requires = "ha")]
    unicast: bool,
    /// Connections to hold open over each family meanwhile
    #[arg(long, default_value_t = 200, requires = "ha", value_parser = clap::value_parser!(u16).range(4..=5000))]
    connections: u16,
}

impl Second {
    fn show(&self) -> standby::Show {
        let standby = Standby { advert_interval_ms: self.advert_ms, unicast: self.unicast, ..Standby::default() };
        standby::Show { standby, connections: self.connections.into() }
    }
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum DriveKind {
    /// HTTP/1.1 GETs, each over a TCP connection of its own
    Http,
    /// UDP datagrams, each from a port of its own
    Udp,
}

impl From<DriveKind> for load::Kind {
    fn from(kind: DriveKind) -> Self {
        match kind {
            DriveKind::Http => Self::Http,
            DriveKind::Udp => Self::Udp,
        }
    }
}

/// Does what was typed.
#[must_use]
pub fn main(arguments: Arguments) -> ExitCode {
    match carry_out(arguments.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("krater-rig: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(verb: Verb) -> Result<()> {
    match verb {
        Verb::Run { second, keep, .. } if second.ha => standby::run(second.show(), keep),
        Verb::Run { shape, keep, requests, .. } => run::run(&shape, requests, keep),
        Verb::Up { second, .. } if second.ha => standby::up(second.show()),
        Verb::Up { shape, .. } => run::up(&shape),
        Verb::Down { all } => down::down(all),
        Verb::Shell { node, rig, command } => shell::shell(&node, rig.as_deref(), &command),
        Verb::Drive { kind, target, requests, concurrency } => {
            drive::drive(kind.into(), target, requests, concurrency.into())
        }
        Verb::ServeUdp { name, bind } => udp::serve(&name, &bind),
        Verb::ServeEcho { bind } => echo::serve(&bind),
    }
}
