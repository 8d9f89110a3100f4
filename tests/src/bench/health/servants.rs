//! Members that can be killed one at a time: each has a listening socket of its own,
//! and all of them together answer UDP.

use std::{
    io::IoSlice,
    io::IoSliceMut,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    cmsg_space,
    errno::Errno,
    libc::in_pktinfo,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt},
};

use super::pool::{UDP_PORT, address};
use crate::rig::netns;

/// Where these members are probed.
pub(super) const PORT: u16 = 8081;
const PATIENCE: Duration = Duration::from_millis(50);

/// The members from number 0 on. Dropping it ends all of them.
#[derive(Debug)]
pub(super) struct Servants {
    namespace: String,
    listeners: Vec<Option<TcpListener>>,
    stop: Arc<AtomicBool>,
    echo: Option<JoinHandle<Result<()>>>,
}

impl Servants {
    /// Starts so many.
    ///
    /// # Errors
    /// When a socket is refused.
    pub(super) fn start(namespace: &str, members: u32) -> Result<Self> {
        let listeners = netns::enter(namespace, || (0..members).map(|number| listen(number).map(Some)).collect())?;
        let socket = netns::enter(namespace, || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, UDP_PORT)).context("bind the members' UDP port")?;
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).context("ask for datagrams' destinations")?;
            socket.set_read_timeout(Some(PATIENCE)).context("set a timeout")?;
            Ok(socket)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let echo = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                echo(&socket)?;
            }
            Ok(())
        });
        Ok(Self { namespace: namespace.to_owned(), listeners, stop, echo: Some(echo) })
    }

    /// From now on, a member refuses connections.
    pub(super) fn kill(&mut self, number: u32) {
        if let Some(listener) = self.listeners.get_mut(number as usize) {
            *listener = None;
        }
    }

    /// It takes them again.
    ///
    /// # Errors
    /// When its socket is refused.
    pub(super) fn revive(&mut self, number: u32) -> Result<()> {
        let listener = netns::enter(&self.namespace, || listen(number))?;
        let place = self.listeners.get_mut(number as usize).context("there is no such member")?;
        *place = Some(listener);
        Ok(())
    }
}

impl Drop for Servants {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(echo) = self.echo.take()
            && let Err(error) = echo.join().unwrap_or_else(|_| Err(anyhow!("it panicked")))
        {
            eprintln!("the members' UDP echo ended early: {error:#}");
        }
    }
}

fn listen(number: u32) -> Result<TcpListener> {
    let place = SocketAddr::new(address(number).into(), PORT);
    TcpListener::bind(place).with_context(|| format!("listen at {place}"))
}

/// Sends a datagram back from the address that it came to.
fn echo(socket: &UdpSocket) -> Result<()> {
    let (mut bytes, mut control) = ([0; 64], cmsg_space!(in_pktinfo));
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = match recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()) {
        Ok(received) => received,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
        Err(error) => return Err(error).context("receive a datagram"),
    };
    let to = received.cmsgs().context("read a datagram's destination")?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_addr),
        _ => None,
    });
    let (client, length) = (received.address, received.bytes);
    let (Some(to), Some(client)) = (to, client) else { return Ok(()) };
    let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: to, ipi_addr: to };
    let answer = [IoSlice::new(bytes.get(..length).unwrap_or_default())];
    // A client that has gone is no reason to end.
    let _ = sendmsg(
        socket.as_raw_fd(),
        &answer,
        &[ControlMessage::Ipv4PacketInfo(&info)],
        MsgFlags::empty(),
        Some(&client),
    );
    Ok(())
}
