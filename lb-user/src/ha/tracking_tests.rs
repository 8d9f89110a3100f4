#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;
use crate::{config::Config, ha::scene};

struct World {
    config: Config,
    links: BTreeMap<String, LinkView>,
    attached: BTreeSet<String>,
    behind: Option<String>,
    down: BTreeSet<String>,
}

impl World {
    /// An instance at front0 with what it tracks.
    fn tracking(track: &str) -> Self {
        let config = scene::config(&format!("priority = 100\n{track}"));
        Self {
            config,
            links: scene::links(),
            attached: ["front0".to_owned(), "back0".to_owned()].into(),
            behind: None,
            down: BTreeSet::new(),
        }
    }

    fn outlook(&self) -> Outlook {
        let facts = Facts {
            links: &self.links,
            attached: &self.attached,
            wanted: &self.config.dataplane.interfaces,
            behind: self.behind.as_deref(),
            load_balancers_down: &self.down,
        };
        facts.outlook(&self.config.vrrp[0])
    }

    fn pull(&mut self, interface: &str) {
        self.links.get_mut(interface).unwrap().up = false;
    }
}

#[test]
fn an_instance_without_tracking_needs_its_interface_and_the_data_path_there() {
    let mut world = World::tracking("");
    assert_eq!((world.outlook().priority.get(), world.outlook().fault), (100, None));
    world.attached.remove("front0");
    assert!(world.outlook().fault.unwrap().contains("not attached to front0"));
    world.pull("front0");
    assert_eq!(world.outlook().fault.unwrap(), "interface front0 is down");
    world.links.remove("front0");
    assert_eq!(world.outlook().fault.unwrap(), "interface front0 is not there");
}

#[test]
fn a_weight_below_zero_is_taken_off_while_its_object_is_down() {
    let mut world = World::tracking("[[vrrp.track]]\nkind = \"interface\"\nname = \"back0\"\nweight = -30\n");
    assert_eq!(world.outlook().priority.get(), 100);
    world.pull("back0");
    let outlook = world.outlook();
    assert_eq!((outlook.priority.get(), outlook.fault), (70, None));
    assert_eq!(outlook.tracked[0].down.as_deref(), Some("interface back0 is down"));
}

#[test]
fn a_weight_above_zero_is_added_while_its_object_is_up_and_no_sum_leaves_the_range() {
    let mut world = World::tracking("[[vrrp.track]]\nkind = \"load_balancer\"\nname = \"web\"\nweight = 200\n");
    assert_eq!(world.outlook().priority.get(), 254);
    world.down.insert("web".to_owned());
    assert_eq!(world.outlook().priority.get(), 100);
    let mut world = World::tracking("[[vrrp.track]]\nkind = \"interface\"\nname = \"back0\"\nweight = -253\n");
    world.pull("back0");
    assert_eq!(world.outlook().priority.get(), 1);
}

#[test]
fn an_object_of_weight_zero_has_to_be_up() {
    let mut world = World::tracking("[[vrrp.track]]\nkind = \"data_path\"\nweight = 0\n");
    assert_eq!(world.outlook().fault, None);
    world.behind = Some("SLOTS is full".to_owned());
    assert_eq!(world.outlook().fault.unwrap(), "the data path is behind: SLOTS is full");
    world.behind = None;
    world.attached.remove("back0");
    assert_eq!(world.outlook().fault.unwrap(), "the data path is not attached to back0");
}
