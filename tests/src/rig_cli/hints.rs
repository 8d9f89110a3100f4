//! What to type at a rig that was left up.

use anyhow::Result;

use crate::rig::{Family, Rig, binaries};

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
