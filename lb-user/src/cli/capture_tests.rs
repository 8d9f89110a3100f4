#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use super::*;

/// A pcap file of a link type with frames, each with the length it had.
fn pcap(link: u32, frames: &[(&[u8], u32)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65535, link] {
        file.extend(u32::to_le_bytes(word));
    }
    for (frame, length) in frames {
        for word in [1, 0, frame.len() as u32, *length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(*frame);
    }
    file
}

/// The same as pcapng.
fn pcapng(frames: &[(&[u8], u32)]) -> Vec<u8> {
    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &length].concat()
    }
    let section = [&0x1a2b_3c4du32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let mut file = [block(0x0a0d_0d0a, &section), block(1, &[1, 0, 0, 0, 0, 0, 4, 0])].concat();
    for (frame, length) in frames {
        let mut body = [0u32, 0, 0, frame.len() as u32, *length].map(u32::to_le_bytes).concat();
        body.extend(*frame);
        body.resize(body.len().next_multiple_of(4), 0);
        file.extend(block(6, &body));
    }
    file
}

fn read_bytes(bytes: &[u8]) -> Result<Capture, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    read(file.path())
}

#[test]
fn frames_are_read_from_both_kinds_of_files() {
    let frames: [(&[u8], u32); 3] = [(&[1; 60], 60), (&[2; 33], 90), (&[3; 14], 14)];
    let expected = Capture { frames: frames.iter().map(|(frame, _)| frame.to_vec()).collect(), cut: 1, left: 0 };
    assert_eq!(read_bytes(&pcap(1, &frames)), Ok(expected.clone()));
    assert_eq!(read_bytes(&pcapng(&frames)), Ok(expected));
    assert_eq!(read_bytes(&pcap(1, &[])), Ok(Capture::default()));
}

#[test]
fn what_does_not_fit_a_question_is_counted() {
    let many = vec![(&[0; 20][..], 20); MAX_PACKETS_EXPLAINED + 3];
    let capture = read_bytes(&pcap(1, &many)).unwrap();
    assert_eq!((capture.frames.len(), capture.left), (MAX_PACKETS_EXPLAINED, 3));
    let long = vec![(&[0; 9000][..], 9000); 100];
    let capture = read_bytes(&pcap(1, &long)).unwrap();
    assert!(capture.frames.len() * 9000 <= MAX_BYTES && capture.frames.len() as u32 + capture.left == 100);
    assert!(capture.left > 0);
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let whole = pcap(1, &[(&[1; 60], 60)]);
    for (bytes, words) in [
        (pcap(113, &[]), "link type 113"),
        (b"GIF89a, and not what was asked for".to_vec(), "no pcap or pcapng file"),
        (whole[..whole.len() - 5].to_vec(), "ends in the middle"),
        (pcap(1, &[(&[0; MAX_FRAME_BYTES + 1], 1)]), "9216 is the longest"),
    ] {
        let reason = read_bytes(&bytes).unwrap_err();
        assert!(reason.contains(words), "{words}: {reason}");
    }
    assert!(read(Path::new("/nonexistent/file.pcap")).unwrap_err().contains("No such file"));
}
