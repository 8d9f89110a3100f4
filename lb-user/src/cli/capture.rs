//! Frames from a capture file, within bounds.

use std::{fs::File, path::Path};

use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader, traits::PcapNGPacketBlock as _};

use crate::control::protocol::{MAX_FRAME_BYTES, MAX_PACKETS_EXPLAINED, MAX_REQUEST_BYTES};

/// What is read of a file at a time; a block of it has to fit.
const BUFFER: usize = 1 << 18;
/// Blocks that are looked at, so that a file of any length comes to an end.
const MAX_BLOCKS: u32 = 1_000_000;
/// Bytes of frames that fit a question, where each takes two digits.
const MAX_BYTES: usize = MAX_REQUEST_BYTES / 2 - 64 * 1024;

/// The frames of a capture.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Capture {
    /// Those that fit a question, in their order.
    pub(super) frames: Vec<Vec<u8>>,
    /// How many of them the file has in part only.
    pub(super) cut: u32,
    /// How many more there are.
    pub(super) left: u32,
}

impl Capture {
    fn take(&mut self, frame: &[u8], length: u32) {
        let bytes: usize = self.frames.iter().map(Vec::len).sum();
        if self.left > 0 || self.frames.len() == MAX_PACKETS_EXPLAINED || bytes + frame.len() > MAX_BYTES {
            self.left += 1;
            return;
        }
        self.cut += u32::from(frame.len() < length as usize);
        self.frames.push(frame.to_vec());
    }
}

/// Reads a pcap or pcapng file.
///
/// # Errors
/// Why it cannot be used, for the operator.
pub(super) fn read(path: &Path) -> Result<Capture, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let unreadable = |error: &dyn std::fmt::Display| format!("no pcap or pcapng file that can be read: {error}");
    let mut reader = create_reader(BUFFER, file).map_err(|error| unreadable(&error))?;
    let mut capture = Capture::default();
    let (mut blocks, mut stalled) = (0, false);
    while blocks < MAX_BLOCKS {
        match reader.next() {
            Ok((offset, block)) => {
                take(&mut capture, &block)?;
                reader.consume(offset);
                (blocks, stalled) = (blocks + 1, false);
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) if !stalled => {
                reader.refill().map_err(|error| unreadable(&error))?;
                stalled = true;
            }
            Err(PcapError::Incomplete(_) | PcapError::UnexpectedEof) => {
                return Err("it ends in the middle of a packet, or has one too long".into());
            }
            Err(error) => return Err(unreadable(&error)),
        }
    }
    Ok(capture)
}

fn take(capture: &mut Capture, block: &PcapBlockOwned<'_>) -> Result<(), String> {
    let ethernet = |link: Linktype| match link {
        Linktype::ETHERNET => Ok(()),
        other => Err(format!("its packets are no Ethernet frames (link type {}): capture on one interface", other.0)),
    };
    match block {
        PcapBlockOwned::LegacyHeader(header) => ethernet(header.network),
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => ethernet(interface.linktype),
        PcapBlockOwned::Legacy(packet) => keep(capture, packet.data, packet.origlen),
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => keep(capture, packet.packet_data(), packet.origlen),
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => keep(capture, packet.packet_data(), packet.origlen),
        PcapBlockOwned::NG(_) => Ok(()),
    }
}

fn keep(capture: &mut Capture, frame: &[u8], length: u32) -> Result<(), String> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(format!(
            "it has a frame of {} bytes, and {MAX_FRAME_BYTES} is the longest: switch off receive offloads before \
             capturing (`ethtool -K IF gro off lro off`)",
            frame.len()
        ));
    }
    capture.take(frame, length);
    Ok(())
}

#[cfg(test)]
#[path = "capture_tests.rs"]
mod tests;
