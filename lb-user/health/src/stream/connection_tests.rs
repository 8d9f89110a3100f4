#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tokio::io::AsyncReadExt;

use super::{
    super::rig::{PATIENCE, Server, run},
    *,
};

#[test]
fn what_this_host_lacks_says_nothing_about_the_member() {
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL, libc::EAGAIN] {
        let outcome = broken(&io::Error::from_raw_os_error(errno), "");
        assert!(matches!(outcome, Outcome::NotAsked(_)), "{outcome:?}");
    }
}

#[test]
fn an_error_that_lost_its_number_still_says_what_it_was() {
    let reset = Outcome::Fails(Failure::Kernel(libc::ECONNRESET));
    assert_eq!(broken(&io::Error::from_raw_os_error(libc::ECONNRESET), ""), reset);
    // As h2 hands it on.
    assert_eq!(broken(&io::Error::new(io::ErrorKind::ConnectionReset, "reset"), ""), reset);
    let closed = Outcome::Fails(Failure::Closed("it spoke"));
    assert_eq!(broken(&io::Error::from_raw_os_error(libc::EPIPE), "it spoke"), closed);
    assert_eq!(broken(&io::ErrorKind::UnexpectedEof.into(), "it spoke"), closed);
}

#[test]
fn a_bounded_connection_brings_so_much_and_then_fails() {
    let server = Server::start(|mut stream| while io::Write::write_all(&mut stream, &[0; 1024]).is_ok() {});
    let (read, error) = run(async {
        let mut stream = Bounded::new(open(server.to).unwrap(), 10_000);
        let (mut read, mut room) = (0, [0; 700]);
        loop {
            match tokio::time::timeout(PATIENCE, stream.read(&mut room)).await.unwrap() {
                Ok(n) => read += n,
                Err(error) => return (read, error),
            }
        }
    });
    assert!((10_000..10_700).contains(&read), "{read}");
    assert_eq!(broken(&error, ""), Outcome::Fails(Failure::Malformed("it sends without end")));
    server.end();
}
