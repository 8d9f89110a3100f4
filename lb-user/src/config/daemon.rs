//! `[dataplane]` and `[control]`.

use lb_common::config::IdleLimits;
use toml::de::DeValue;

use super::{
    ControlConfig, DataplaneConfig, OnExit,
    fields::{
        HASH_SEED, IDLE_TCP, IDLE_TCP_CLOSING, IDLE_TIMEOUT, IDLE_UDP, IDLE_UNCONFIRMED, INTERFACES, MAX_FLOWS,
        MAX_INTERFACES, MIN_SNAT_PORT, MIN_SNAT_PORTS, ON_EXIT, PIN_PATH, SNAT_PORTS, SOCKET, STATE_DIR, XDP_MODE,
    },
    guard,
    mistake::quoted,
    reader::{Reader, is_interface_name},
};
use crate::dataplane::XdpMode;

/// `[dataplane]` with the interfaces that it names; `None` after a complaint.
pub(super) fn dataplane(table: &Reader<'_>, interfaces: Option<Vec<String>>) -> Option<DataplaneConfig> {
    // Each is read before any is looked at, so that all complain.
    let xdp_mode =
        table.word(&XDP_MODE, &[("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)]);
    let pin_path = table.path(&PIN_PATH);
    let max_flows = table.integer(&MAX_FLOWS);
    let snat_ports = snat_ports(table);
    let hash_seed = table.integer(&HASH_SEED);
    let on_exit = table.word(&ON_EXIT, &[("keep", OnExit::Keep), ("remove", OnExit::Remove)]);
    let encap_sources = guard::encap_sources(table);
    let idle_seconds = idle_seconds(&table.table_or_empty(&IDLE_TIMEOUT));
    Some(DataplaneConfig {
        interfaces: interfaces?,
        xdp_mode: xdp_mode?,
        pin_path: pin_path?,
        max_flows: max_flows?,
        snat_ports: snat_ports?,
        hash_seed,
        on_exit: on_exit?,
        encap_sources: encap_sources?,
        idle_seconds: idle_seconds?,
    })
}

/// `[control]`; `None` after a complaint.
pub(super) fn control(table: &Reader<'_>) -> Option<ControlConfig> {
    let socket = table.path(&SOCKET);
    let state_dir = table.path(&STATE_DIR);
    Some(ControlConfig { socket: socket?, state_dir: state_dir? })
}

/// The interfaces that `[dataplane]` names; `None` after a complaint.
pub(super) fn interfaces(table: &Reader<'_>) -> Option<Vec<String>> {
    let list = table.list(&INTERFACES)?;
    let example = INTERFACES.example;
    if list.is_empty() {
        table.mistake(INTERFACES.key, format!("there is none; name at least one, as in {example}"));
    }
    if list.len() > MAX_INTERFACES {
        let text = format!("there are {}, and room for {MAX_INTERFACES}; leave some out", list.len());
        table.mistake(INTERFACES.key, text);
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for (line, value) in list {
        let refuse = |text: String| table.mistake_at(line, INTERFACES.key, text);
        match value {
            DeValue::String(name) if !is_interface_name(name) => {
                let name = quoted(name);
                refuse(format!("{name} is no name of an interface; write one that `ip link` shows"));
            }
            DeValue::String(name) if names.iter().any(|known| *known == **name) => {
                refuse(format!("{} is there twice; remove one of the two", quoted(name)));
            }
            DeValue::String(name) => names.push(name.to_string()),
            _ => refuse(format!("a list of names in quotes is wanted; write for example {example}")),
        }
    }
    (!table.is_wrong(&INTERFACES)).then_some(names)
}

fn snat_ports(table: &Reader<'_>) -> Option<(u16, u16)> {
    let (low, high) = table.ports(&SNAT_PORTS)?;
    let flaw = if low > high {
        format!("{low} is above {high}; write the lower port first")
    } else if low < MIN_SNAT_PORT {
        format!("{low} is below {MIN_SNAT_PORT}; leave the ports below to services")
    } else if high - low < MIN_SNAT_PORTS - 1 {
        format!(
            "{low} to {high} are fewer than {MIN_SNAT_PORTS} ports, which is how many are tried for a flow; widen it"
        )
    } else {
        return Some((low, high));
    };
    table.mistake(SNAT_PORTS.key, flaw);
    None
}

fn idle_seconds(table: &Reader<'_>) -> Option<IdleLimits> {
    let unconfirmed = table.integer(&IDLE_UNCONFIRMED);
    let tcp = table.integer(&IDLE_TCP);
    let tcp_closing = table.integer(&IDLE_TCP_CLOSING);
    let udp = table.integer(&IDLE_UDP);
    Some(IdleLimits { unconfirmed: unconfirmed?, tcp: tcp?, tcp_closing: tcp_closing?, udp: udp? })
}
