//! SCTP (RFC 9260): an INIT to send, what answers it, and the ABORT that makes the member
//! forget it. Pure, and total over bytes.

/// A common header and an INIT chunk.
pub(super) const INIT_LEN: usize = 32;
/// A common header and an ABORT chunk.
const ABORT_LEN: usize = 16;

const COMMON: usize = 12;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;

/// What a host that has nothing special offers to receive.
const WINDOW: u32 = 65_536;

/// An INIT with a tag for the member to answer with, and one stream in each direction.
pub(super) fn init(source_port: u16, port: u16, tag: u32, sequence: u32) -> [u8; INIT_LEN] {
    let mut packet = [0; INIT_LEN];
    packet[..2].copy_from_slice(&source_port.to_be_bytes());
    packet[2..4].copy_from_slice(&port.to_be_bytes());
    // The verification tag of an INIT is 0 (§8.5.1).
    packet[COMMON] = INIT;
    packet[14..16].copy_from_slice(&20u16.to_be_bytes());
    packet[16..20].copy_from_slice(&tag.to_be_bytes());
    packet[20..24].copy_from_slice(&WINDOW.to_be_bytes());
    packet[24..26].copy_from_slice(&1u16.to_be_bytes());
    packet[26..28].copy_from_slice(&1u16.to_be_bytes());
    packet[28..32].copy_from_slice(&sequence.to_be_bytes());
    seal(&mut packet);
    packet
}

/// An ABORT, with the tag that the member asked for in its INIT ACK.
pub(super) fn abort(source_port: u16, port: u16, tag: u32) -> [u8; ABORT_LEN] {
    let mut packet = [0; ABORT_LEN];
    packet[..2].copy_from_slice(&source_port.to_be_bytes());
    packet[2..4].copy_from_slice(&port.to_be_bytes());
    packet[4..8].copy_from_slice(&tag.to_be_bytes());
    packet[COMMON] = ABORT;
    packet[14..16].copy_from_slice(&4u16.to_be_bytes());
    seal(&mut packet);
    packet
}

/// The checksum is made with a zero in its place, and its lowest byte comes first
/// (§6.8, appendix A).
fn seal(packet: &mut [u8]) {
    let checksum = crc32c::crc32c(packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
}

/// What a member says to an INIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// Its port.
    pub(super) from: u16,
    /// Ours.
    pub(super) to: u16,
    /// The tag of the INIT.
    pub(super) tag: u32,
    /// INIT ACK with the tag it wants to be answered with, or ABORT.
    pub(super) accepts: Option<u32>,
}

/// Reads an answer to an INIT. `None` when it is none. The checksum is not looked at: the
/// tag is proof enough, and only the beginning of a packet may be there.
pub(super) fn read(bytes: &[u8]) -> Option<Answer> {
    let header: &[u8; 16] = bytes.first_chunk()?;
    let length = u16::from_be_bytes([header[14], header[15]]);
    let accepts = match header[COMMON] {
        INIT_ACK if length >= 20 => {
            let tag = u32::from_be_bytes(bytes.get(16..20)?.try_into().ok()?);
            // A tag of 0 is forbidden (§3.3.3).
            Some(Some(tag).filter(|tag| *tag != 0)?)
        }
        // With the T bit, the tag is a reflection of the tag of what it answers: 0.
        ABORT if length >= 4 && header[13] & 1 == 0 => None,
        _ => return None,
    };
    Some(Answer {
        from: u16::from_be_bytes([header[0], header[1]]),
        to: u16::from_be_bytes([header[2], header[3]]),
        tag: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        accepts,
    })
}

/// An INIT of ours, as an ICMP message brings it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    /// Our port.
    pub(super) from: u16,
    /// The member's.
    pub(super) to: u16,
    /// The tag in it; `None` when so little came back that it is not there.
    pub(super) tag: Option<u32>,
}

/// Reads what an ICMP message brings back (§10). `None` when that is no INIT.
pub(super) fn read_sent(bytes: &[u8]) -> Option<Sent> {
    let header: &[u8; 8] = bytes.first_chunk()?;
    if header[4..8] != [0; 4] || bytes.get(COMMON).is_some_and(|chunk| *chunk != INIT) {
        return None;
    }
    Some(Sent {
        from: u16::from_be_bytes([header[0], header[1]]),
        to: u16::from_be_bytes([header[2], header[3]]),
        tag: bytes.get(16..20).and_then(|tag| Some(u32::from_be_bytes(tag.try_into().ok()?))),
    })
}
