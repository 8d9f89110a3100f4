//! `docs/pool-file.md`, written from the tables that the reader goes by.

use std::fmt::Write as _;

use lb_common::limits::{LABEL_BYTES, MAX_TABLE_SLOTS};

use super::{
    MAX_FILE_BYTES,
    fields::{COUNTS, FILE, MAX_INTERFACES, MIN_SNAT_PORT, MIN_SNAT_PORTS},
    monitor::fields::types_of,
    schema::{Fallback, Field, Kind, Table},
};
use crate::{model::Name, spread::slots_for};

const BEGINNING: &str = "\
# The pool file

<!-- Written by a test from the tables of fields in lb-user/src/config. To write it again:
     KRATER_BLESS=1 cargo test -p lb-user pool_file_page -->

lbd reads one file, in [TOML](https://toml.io), that says what it balances, in the words of OpenStack's Octavia.
[`examples/krater.toml`](../examples/krater.toml) is one to start from, [`examples/pair.toml`](../examples/pair.toml) one
for [two balancers](#two-balancers), and [`examples/octavia-pair.toml`](../examples/octavia-pair.toml) one for a balancer
beside an amphora of Octavia.

- `lbd check --config FILE` says what is wrong with a file and touches nothing. Every mistake is named at once, with its
  line, its field, the reason and a remedy. If the file is no TOML, only the first broken line is named.
- A file with a mistake is refused as a whole: a running lbd goes on with what it had.
- Nothing is ignored. A key that is not on this page is a mistake. What Octavia has and a later version will have is
  refused as *not available yet*.
- Whatever is not written has its default. A **required** field has none.
- Words count as they are written here: `TCP` is one, `tcp` is not.
- Warnings name what is allowed and probably not meant: a file without load balancer; a pool that no listener uses; a
  `timeout` above the `delay`, a `UDP-CONNECT` monitor with a `delay` below 3 s, codes that no answer has, a UDP member
  that is probed over TCP at the port where it serves UDP, `on_member_down`, `panic_threshold` or `mss_clamp` where
  they do nothing, `allowed_cidrs` without one; a
  virtual router that moves nothing, `[sync]` without one, a peer whose adverts are not allowed, more addresses than an
  advert names, a secret that everybody on the host can read, a program for `notify` that is not there.

";

const FORWARD_MODES: &str = "\
## Forward modes

| `forward_mode` | members see as their client | ports | members | what a member needs |
|---|---|---|---|---|
| `nat` | the VIP | may differ | of the VIP's family | nothing |
| `dnat` | the client | may differ | of the VIP's family | routes to clients through the balancer |
| `dsr` | the client | the listener's | of the VIP's family, on a network of the balancer | the VIP, silently |
| `ipip` | the client | the listener's | of either family, behind routers too | the VIP, silently, and a tunnel |
| `gue` | the client | the listener's | of either family, behind routers too | the VIP, silently, a tunnel and a UDP port |

A pool of any mode but `nat` is the pool of one listener. In `dnat` an address, port and protocol is a member behind one
listener only, because an answer does not say whose it is. The commands below are for members with Linux, as root, with
`192.0.2.10` and `2001:db8::10` for the VIP; what they set is gone after a restart of the member unless it is written down
where the distribution keeps such settings.

### `dnat`

```toml
[[loadbalancer.pool]]
name = \"app\"
protocol = \"TCP\"
forward_mode = \"dnat\"

[[loadbalancer.pool.member]]
address = \"10.0.0.21\"
protocol_port = 8080
```

The member's answers have to come back to the balancer, to an interface that it is attached to. `10.0.0.1` is the balancer's
own address on the members' network:

```sh
ip route replace default via 10.0.0.1
```

A client on the members' own network gets answers past the balancer and does not understand them: such clients need `nat`.

### `dsr`

```toml
[[loadbalancer.listener]]
protocol = \"TCP\"
protocol_port = 80
default_pool = \"app\"

[[loadbalancer.pool]]
name = \"app\"
protocol = \"TCP\"
forward_mode = \"dsr\"

[[loadbalancer.pool.member]]
address = \"192.0.2.21\"
protocol_port = 80              # the listener's
```

The member has the VIP, and does not answer for it on the network, which is the balancer's to do. IPv6 does not answer for
addresses of `lo` anyway.

```sh
ip address add 192.0.2.10/32 dev lo
sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
ip address add 2001:db8::10/128 dev lo nodad
```

### `ipip`

As `dsr`, with `forward_mode = \"ipip\"` and members anywhere. The member has the VIP as above, and a device that unwraps
what arrives: `tunl0` for IPv4 in IPv4, `sit0` for IPv6 in IPv4, `ip6tnl0` for both in IPv6. What is unwrapped comes from
clients by a device that does not lead to them, which `rp_filter` takes for a forgery unless it is told otherwise.

```sh
modprobe ipip && ip link set tunl0 up
sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.tunl0.rp_filter=0
modprobe sit && ip link set sit0 up
modprobe ip6_tunnel && ip link set ip6tnl0 up
```

Packets come from `encap_sources`, so that filters on the way and the member's own `rp_filter` must let these pass. A packet
grows by 20 bytes of IPv4 or 40 of IPv6. A client whose packet does not fit any more is told so by ICMP; that it sends none,
the member can see to, which is who says how long clients' segments may be:

```sh
ip route change default via 10.0.0.254 advmss 1400
```

### `gue`

As `ipip`, with a UDP header in between, whose source port spreads flows over the paths of a network and the queues of a
card. The member takes it at port 6080, beside the devices above:

```sh
modprobe fou && ip fou add port 6080 gue
modprobe fou6 && ip -6 fou add port 6080 gue      # for members with IPv6 addresses
```

Packets come from the balancer's own address towards the member. A packet grows by 28 or 48 bytes.

## Changing a pool

`lb_algorithm`, `forward_mode`, weights and members can change at any time. In `nat` each flow is remembered and stays where
it is. In the other modes a flow goes where the pool's table says, and only flows that a change concerns are remembered, from
their next packet on: `transition_hold` says how long that packet may take to come. A datagram of UDP does not say whether it is
its flow's first, so for that long new flows of UDP go by the table before as well. With `ROUND_ROBIN`, `LEAST_CONNECTIONS`,
`session_persistence` or a `connection_limit` every flow is remembered. What is remembered is told to the other balancer of a
pair (`[sync]`). One that starts after a change knows of the flows that were heard from since, and not by which table the
others were placed: let `transition_hold` pass before you move VIPs to it.

A change of `forward_mode` leaves each flow in the mode that it began in, so members go on needing what that mode needs until
their old flows are over. Nothing does for both `nat` and a mode in which members hold the VIP: packets of `nat` come from the
VIP, and a member does not take from outside what comes from an address of its own. Give such a pool new members, or other
addresses of the same ones that only they answer to, and drain the old.

";

const SECRETS: &str = "\
## Secrets

A secret is text of one line, in `secret` or alone in a file that `secret_file` names. With enough digits for a secret and
nothing else in it, it is read as hexadecimal; otherwise its bytes are those of the text. `hex:`, `base64:` and `text:` in
front of it say what follows. `openssl rand -hex 32` makes one.

A file is read at the start and at each reload, at most 4096 bytes of it. One that everybody may change is refused, and one
that everybody may read is warned of, as is a pool file with a secret in it. No complaint and no log repeats a secret.
";

const TWO_BALANCERS: &str = "\
## Two balancers

The least that makes a pair, on both the same but for the priority:

```toml
[[vrrp]]
name = \"pair\"
virtual_router_id = 51
priority = 200              # 100 on the other one

[[loadbalancer]]
topology = \"ACTIVE_STANDBY\"
```

and the rest of the load balancer. With `[sync]`, established connections survive the loss of a balancer.

- Load balancers, pools and members are the same in both files. So are `hash_seed`, `max_flows` and `snat_ports`.
- `priority`, `unicast_source`, `unicast_peers`, `local` and `peer` differ. Nothing can tell that both have the same
  priority until their adverts meet; then the higher address wins.
- Adverts name the addresses that move, in this order: the link-local one of IPv6, the VIPs in the order of the file, then
  `[[vrrp.address]]`. They have room for 255 of IPv4 and for 89 of IPv6; the first ones are named, and all move. VIPs of
  the other family move and are announced, and no advert names them.
- A reload may change everything in `[[vrrp]]` and `[sync]`. A router is known by its name: another name is another
  router.";

/// The reference page of the pool file, in Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = BEGINNING.to_owned();
    for table in FILE.tables {
        write_table(&mut page, table);
    }
    page.push_str(FORWARD_MODES);
    page.push_str("## How much there can be\n\n| what | at most |\n|---|---|\n");
    for (what, limit) in COUNTS {
        let _ = writeln!(page, "| {what} | {limit} |");
    }
    let _ = writeln!(page, "| bytes of the file | {MAX_FILE_BYTES} |");
    let _ = writeln!(
        page,
        "\n\
A pool with one member has a table of {} slots, with two of {}, with three or four of {}, with five to eight of {}, and\n\
so on up to {MAX_TABLE_SLOTS}.\n\n\
## Names\n\n\
A name has 1 to {} characters: letters, digits, `.`, `_`, `-` and `:`. Load balancers, listeners, pools and members are\n\
called `balancer`, `balancer/listener`, `balancer/pool` and `balancer/pool/member` by lbctl and in the kernel's tables,\n\
with at most {LABEL_BYTES} characters together.\n\n\
## Addresses\n\n\
VIPs and members are hosts' addresses: not loopback, multicast, broadcast, unspecified, IPv6 link-local, or IPv4 written\n\
as IPv6. Members have their VIP's family, but in the modes `ipip` and `gue`. A member that is a VIP of the same file is refused, because the balancer would\n\
forward to itself. A `monitor_address` may be loopback and of either family, and is no VIP of the same file either.\n\n\
No address moves twice: VIPs, `[[vrrp.address]]` and `link_local` differ from each other, and from everything that stays\n\
with a host: members, `unicast_source`, `unicast_peers`, `allowed_sources`, `local` and `peer`. A `[[vrrp.address]]` and\n\
the ends of IPv6 adverts may be link-local.\n\n\
{SECRETS}\n\
{TWO_BALANCERS}",
        slots_for(1),
        slots_for(2),
        slots_for(4),
        slots_for(8),
        Name::MAX
    );
    page
}

fn write_table(page: &mut String, table: &Table) {
    let _ = writeln!(page, "## `{}`\n\n{}\n", table.header, table.about);
    page.push_str("| field | what can be written | default | meaning |\n|---|---|---|---|\n");
    for field in table.fields {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {}{} |",
            field.key,
            values(field),
            default(field),
            of(field),
            field.meaning
        );
    }
    page.push('\n');
    for field in table.fields {
        if let Kind::Word { later, .. } = field.kind
            && !later.is_empty()
        {
            let _ = writeln!(page, "Not available yet for `{}`: {}.\n", field.key, code(later));
        }
    }
    if !table.later.is_empty() {
        let _ = writeln!(page, "Fields that are not available yet: {}.\n", code(table.later));
    }
    for table in table.tables {
        write_table(page, table);
    }
}

/// Which types of health monitor have a field, where not all do.
fn of(field: &Field) -> String {
    types_of(field).map(|types| format!("Of {}. ", code(types))).unwrap_or_default()
}

fn values(field: &Field) -> String {
    match field.kind {
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Integer { min, max } => format!("{min} to {max}"),
        Kind::Signed { min, max } => format!("{min} to {max}"),
        Kind::Seconds { min, max, .. } => format!("seconds, {min} to {max}, with or without decimals"),
        Kind::Word { now, .. } => code(now),
        Kind::WordOrInteger { words, min, max } => format!("{}, or {min} to {max}", code(words)),
        Kind::Version { now } => format!("{}, in quotes or as a number", code(now)),
        Kind::Text { can_be, .. } => can_be.to_owned(),
        Kind::Name => "a [name](#names)".to_owned(),
        Kind::Address => "an IPv4 or IPv6 [address](#addresses)".to_owned(),
        Kind::Addresses { max } => {
            format!("a list of at most {max} [addresses](#addresses), as in `{}`", field.example)
        }
        Kind::Cidrs { max } => {
            format!("a list of at most {max} networks, or addresses alone, as in `{}`", field.example)
        }
        Kind::Endpoint { port } => {
            format!("an [address](#addresses), or an address and a UDP port; without one {port}")
        }
        Kind::Secret { min, max } => format!("a [secret](#secrets) of {min} to {max} bytes"),
        Kind::Password { max } => format!("1 to {max} letters, digits and signs of ASCII"),
        Kind::Interface => "an interface's name".to_owned(),
        Kind::Path { max } => format!("an absolute path of at most {max} bytes"),
        Kind::PortRange => {
            format!("`\"lowest-highest\"`, from {MIN_SNAT_PORT} to {}, at least {MIN_SNAT_PORTS} ports", u16::MAX)
        }
        Kind::Interfaces => format!("a list of 1 to {MAX_INTERFACES} names, as in `{}`", field.example),
    }
}

fn default(field: &Field) -> String {
    match &field.default {
        Fallback::Required => "**required**".to_owned(),
        Fallback::None(words) => (*words).to_owned(),
        other => other.toml().map_or_else(String::new, |value| format!("`{value}`")),
    }
}

fn code(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use std::{fs, path::Path};

    use super::page;

    #[test]
    fn the_pool_file_page_says_what_the_reader_does() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pool-file.md");
        if std::env::var_os("KRATER_BLESS").is_some() {
            fs::write(&path, page()).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page(),
            "docs/pool-file.md is not what the fields say; write it again with\n    \
             KRATER_BLESS=1 cargo test -p lb-user pool_file_page"
        );
    }
}
