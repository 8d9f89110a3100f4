//! The command line of `lbctl` as a whole; verbs are with their nouns.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::{
    dataplane, drops, events, explain, flow, health, listener, loadbalancer, member,
    output::Format,
    pool,
    reach::{GLOBAL_OPTIONS, Reach},
    stats, sync, trace, vrrp,
};

const EXAMPLES: &str = "\
Names:
  Things are called by their labels: web (a load balancer), web/http (a
  listener), web/app (a pool), web/app/app-1 (a member). The end of a label
  will do while only one thing has it: app-1.

When lbd is down:
  The data path goes on without it, and --offline reads and edits it (as root).
  Such edits last until lbd starts again, which brings the maps back in line
  with its pool file; while lbd answers they are refused.

Examples:
  lbctl status                              the whole on one screen
  lbctl member list                         every server and what it is fit for
  lbctl member set app-1 --drain            no new flows to app-1, old ones go on
  lbctl health list --failing               which servers fail, and how
  lbctl flow list --client 192.0.2.7        where a client's connections went
  lbctl drops --nonzero                     why packets ended here
  lbctl explain tcp 192.0.2.7 192.0.2.10:80 what would become of a packet, and why
  lbctl trace --host 192.0.2.7              what becomes of a client's packets, live
  lbctl stats --watch                       traffic a second, until Ctrl-C
  lbctl vrrp show                           which of the pair is Active, since when and why
  lbctl vrrp failover front                 move to the other node, before maintenance
  lbctl events --follow                     what happens, until Ctrl-C
  lbctl -o json pool list | jq '.[].name'   for programs
  lbctl --offline status                    while lbd is down

Exit codes:
  0 done   1 refused   2 wrong usage   3 lbd cannot be reached";

/// Look at and operate a Krater load balancer
#[derive(Clone, PartialEq, Eq, Debug, Parser)]
#[command(name = "lbctl", version, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) reach: Reach,

    /// For people, or for programs: then numbers are exact
    #[arg(short, long, global = true, help_heading = GLOBAL_OPTIONS, value_name = "FORMAT", value_enum, default_value_t)]
    pub(super) output: Format,

    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to look at or operate.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Command {
    /// Show the whole on one screen: state, interfaces, members, drops
    #[command(after_help = "\
Examples:
  lbctl status
  lbctl -o json status | jq -r .operating_status
  lbctl --offline status                    while lbd is down")]
    Status,

    /// Load balancers: a VIP and what stands behind it
    #[command(subcommand, visible_alias = "lb", alias = "loadbalancers")]
    Loadbalancer(loadbalancer::Verb),

    /// Listeners: the ports of a VIP
    #[command(subcommand, alias = "listeners")]
    Listener(listener::Verb),

    /// Pools: members that share the work
    #[command(subcommand, alias = "pools")]
    Pool(pool::Verb),

    /// Members: the servers; drain them, weigh them, switch them off
    #[command(subcommand, alias = "members")]
    Member(member::Verb),

    /// Health monitors: what they ask, what members answer, and why one is down
    #[command(subcommand)]
    Health(health::Verb),

    /// Show the traffic of every listener and member
    Stats(stats::Options),

    /// Flows: which client's connection went to which member
    #[command(subcommand, alias = "flows")]
    Flow(flow::Verb),

    /// VRRP: which node of a pair is Active and why; move, pause, resume
    #[command(subcommand)]
    Vrrp(vrrp::Verb),

    /// Flow sync: what the nodes of a pair tell each other about flows
    #[command(subcommand)]
    Sync(sync::Verb),

    /// Show what has happened, and go on with what happens
    Events(events::Options),

    /// The data path in the kernel: what it is, and how to be rid of it
    #[command(subcommand)]
    Dataplane(dataplane::Verb),

    /// Show why packets ended here, and how many
    Drops(drops::Options),

    /// Say what would become of a packet, and why
    Explain(explain::Options),

    /// Watch packets come in, and what becomes of them
    Trace(trace::Options),

    /// Write completions for a shell to standard output
    #[command(after_help = "\
Examples:
  lbctl completions bash > /etc/bash_completion.d/lbctl
  lbctl completions zsh > \"${fpath[1]}/_lbctl\"
  lbctl completions fish > ~/.config/fish/completions/lbctl.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Write the manual pages of lbctl and lbd
    #[command(after_help = "\
Examples:
  lbctl man | man -l -                      read them
  lbctl man --out /usr/local/share/man      install them, by section")]
    Man {
        /// Write a file for each page into man1 and man8 of this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}
