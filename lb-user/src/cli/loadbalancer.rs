//! `lbctl loadbalancer`.

use clap::Subcommand;

use super::{
    Session,
    failure::Failure,
    table::{Screen, by_name, facts, joined, listing, or_dash},
};
use crate::control::{
    protocol::{Request, Response},
    view::{LoadBalancerView, Role},
};

/// What can be done with load balancers.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub(super) enum Verb {
    /// List load balancers with their VIPs and states
    #[command(visible_alias = "ls")]
    List,

    /// Show everything about a load balancer
    #[command(after_help = "Examples:\n  lbctl lb show web")]
    Show {
        /// Its name
        name: String,
    },
}

pub(super) fn run(verb: Verb, session: &Session) -> Result<(), Failure> {
    match verb {
        Verb::List => session.list(&Request::LoadBalancers { select: None }, records, list),
        Verb::Show { name } => session.show(&Request::LoadBalancers { select: Some(name) }, records, show),
    }
}

fn records(response: Response) -> Option<Vec<LoadBalancerView>> {
    match response {
        Response::LoadBalancers(found) => Some(found),
        _ => None,
    }
}

fn list(found: &[LoadBalancerView], screen: Screen) -> String {
    if found.is_empty() {
        return "no load balancers\n".to_owned();
    }
    let mut found: Vec<&LoadBalancerView> = found.iter().collect();
    found.sort_by(|a, b| by_name(&a.name, &b.name));
    let rows = found.into_iter().map(|lb| {
        [
            lb.name.clone(),
            lb.vip_address.to_string(),
            lb.operating_status.word().to_owned(),
            role(lb.role),
            lb.listeners.len().to_string(),
            lb.pools.len().to_string(),
            lb.status_reason.clone().unwrap_or_default(),
        ]
    });
    let headings = ["NAME", "VIP", "STATUS", "ROLE", "LISTENERS", "POOLS", "NOTE"];
    listing(screen, headings, &["LISTENERS", "POOLS"], rows)
}

fn show(lb: &LoadBalancerView, screen: Screen) -> String {
    facts(
        screen,
        [
            ("name", lb.name.clone()),
            ("vip_address", lb.vip_address.to_string()),
            ("operating_status", lb.operating_status.word().to_owned()),
            ("status_reason", or_dash(lb.status_reason.as_ref())),
            ("status_since", or_dash(lb.status_since.as_ref())),
            ("role", role(lb.role)),
            ("admin_state_up", or_dash(lb.admin_state_up)),
            ("listeners", joined(&lb.listeners)),
            ("pools", joined(&lb.pools)),
        ],
    )
}

/// The word for a role; a dash while the VIP is not in the data path.
pub(super) fn role(role: Option<Role>) -> String {
    or_dash(role.map(Role::word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::sample, control::view::OperatingStatus};

    #[test]
    fn a_load_balancer_is_listed_with_its_vip_state_and_role() {
        let mut other = sample::load_balancer();
        (other.name, other.role) = ("api".to_owned(), None);
        (other.operating_status, other.status_reason) = (OperatingStatus::Online, None);
        let text = list(&[sample::load_balancer(), other], Screen::default());
        assert_eq!(
            text,
            "NAME  VIP         STATUS    ROLE    LISTENERS  POOLS  NOTE\n\
             api   192.0.2.10  ONLINE    -               1      1\n\
             web   192.0.2.10  DEGRADED  ACTIVE          1      1  pool web/app: 1 of 2 members is down: app-2 \
             (connection refused)\n"
        );
        assert_eq!(list(&[], Screen::default()), "no load balancers\n");
    }

    #[test]
    fn a_load_balancer_is_shown_with_the_names_of_its_fields() {
        let text = show(&sample::load_balancer(), Screen::default());
        for line in [
            "operating_status  DEGRADED",
            "status_reason     pool web/app: 1 of 2 members is down: app-2 (connection refused)",
            "status_since      2023-11-14T22:08:20.000Z",
            "admin_state_up    true",
            "listeners         web/http",
            "role              ACTIVE",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
        }
    }
}
