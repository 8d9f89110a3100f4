//! What to type at a rig that was left up.

use anyhow::Result;

use crate::rig::{Family, Rig, Side, binaries, pair::Pair};

/// Prints commands to look around and how to remove the rig.
pub(super) fn print(rig: &Rig) -> Result<()> {
    let id = rig.id();
    let paths = rig.paths();
    let lbctl = format!("{} --socket {}", binaries::find("lbctl")?.display(), paths.socket.display());
    let own = binaries::find("krater-rig")?;
    let inside = |node: &str| format!("nsenter --net=/run/netns/kr-{id}-{node}");
    println!("\nrig {id} stays up. To look around:");
    println!("  {lbctl} status");
    println!("  {lbctl} member list");
    println!("  {lbctl} member set m2 --drain");
    println!("  {lbctl} stats");
    println!("  {lbctl} drops");
    println!("  {} curl -s http://{}/", inside("client"), Family::V4.vip());
    println!("  {} curl -s -g 'http://[{}]/'", inside("client"), Family::V6.vip());
    println!("  {} {} drive udp {}:53", inside("client"), own.display(), Family::V4.vip());
    println!("  {} tcpdump -ni eth0", inside("client"));
    println!("  {} tcpdump -ni eth0", inside("m1"));
    println!("  {}        (a shell; also client, switch, m1 to m3)", inside("lb"));
    println!("  tail -f {}", paths.log.display());
    println!("  cat {}", paths.config.display());
    println!("To remove it:");
    println!("  {} down        (or: cargo xtask rig down)", own.display());
    Ok(())
}

/// The same for a pair.
pub(super) fn print_pair(pair: &Pair) -> Result<()> {
    let id = pair.id();
    let (lbctl, own) = (binaries::find("lbctl")?, binaries::find("krater-rig")?);
    let inside = |node: &str| format!("nsenter --net=/run/netns/kr-{id}-{node}");
    println!("\nrig {id} stays up. To look around:");
    for side in Side::BOTH {
        let (node, paths) = (pair.node(side), pair.node(side).paths());
        let lbctl = format!("{} --socket {}", lbctl.display(), paths.socket.display());
        println!("{}:", side.node());
        for words in ["vrrp show", "vrrp show vip4", "vrrp failover vip4", "events", "sync show", "status", "stats"] {
            println!("  {lbctl} {words}");
        }
        println!("  nsenter --net=/run/netns/{}", node.namespace().name());
        println!("  tail -f {}", paths.log.display());
        println!("  cat {}", paths.config.display());
    }
    println!("the client:");
    println!("  {} curl -s http://{}/", inside("client"), Family::V4.vip());
    println!("  {} {} drive udp {}:53", inside("client"), own.display(), Family::V4.vip());
    println!("  {} tcpdump -eni eth0 arp or icmp6 or proto 112", inside("client"));
    println!("the network (a host dies, and is back):");
    let ip = format!("ip -n kr-{id}-switch link set {}", Side::A.front_port());
    println!("  {ip} down");
    println!("  {ip} up");
    println!("To remove it:");
    println!("  {} down        (or: cargo xtask rig down)", own.display());
    Ok(())
}
