//! Where the program meets packets: its links to interfaces, and what the maps
//! know of each interface.
//!
//! Invariant others rely on: an interface keeps its number for as long as it is
//! attached, whatever its mode, because flows know their clients' interface by
//! it.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use aya::{
    programs::{ProgramError, XdpMode as AyaMode, links::FdLink},
    sys::SyscallError,
};
use lb_common::{
    limits::MAX_PORTS,
    mac::Mac,
    names,
    port::{Place, Tags},
};
use lb_ebpf::host::Arrays;

use super::{
    super::{
        Attachment, DataplaneError, XdpMode,
        pins::{link_pin, linked_interfaces},
    },
    KernelDataplane, kernel, program,
};
use crate::causes::chain;

/// How long a program may take to leave an interface after its link's pin is
/// gone: the kernel does that in its own time.
const DETACHED_WITHIN: Duration = Duration::from_secs(1);
/// How often to ask whether it has left.
const DETACHED_ASKED: Duration = Duration::from_millis(2);

impl KernelDataplane {
    /// Attaches the program to an interface, pins the link and enters the
    /// interface into `PORTS`. An interface attached by an earlier daemon is
    /// switched to the new program without a gap; only another mode takes one.
    ///
    /// # Errors
    /// When the kernel refuses (in `Auto`: refuses both modes). An interface that
    /// was attached is attached as it was then.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        mac: Mac,
        mode: XdpMode,
    ) -> Result<Attachment, DataplaneError> {
        let Some(known) = self.attachments()?.into_iter().find(|a| a.ifindex == ifindex) else {
            let port = self.free_port(ifindex)?;
            return self.attach_at(port, interface, ifindex, mac, mode, Instant::now());
        };
        if mode == XdpMode::Auto || known.mode == mode {
            // `load` has switched its link already.
            self.enter_port(known.port, ifindex, known.mode == XdpMode::Generic, mac)?;
            return Ok(Attachment { mac, ..known });
        }
        self.detach_index(ifindex)?;
        let until = || Instant::now() + DETACHED_WITHIN;
        let attached = self.attach_at(known.port, interface, ifindex, mac, mode, until());
        if attached.is_err()
            && let Err(error) = self.attach_at(known.port, interface, ifindex, mac, known.mode, until())
        {
            tracing::error!("attach {interface} as it was: {}", chain(&error));
        }
        attached
    }

    fn attach_at(
        &mut self,
        port: u16,
        interface: &str,
        ifindex: u32,
        mac: Mac,
        mode: XdpMode,
        until: Instant,
    ) -> Result<Attachment, DataplaneError> {
        let (link, generic, fallback) = self.link(interface, ifindex, mode, until)?;
        // The tables first: a frame that meets the program is to find its port.
        self.enter_port(port, ifindex, generic, mac)?;
        let pin = link_pin(&self.pin_path, ifindex);
        link.pin(&pin).map_err(kernel(format!("pin link of {interface} at {}", pin.display())))?;
        let mode = if generic { XdpMode::Generic } else { XdpMode::Native };
        Ok(Attachment { interface: interface.to_owned(), ifindex, port, mac, mode, fallback })
    }

    /// Makes the link, in one mode or the other. Waits until then for a program
    /// that is on its way out.
    fn link(
        &mut self,
        interface: &str,
        ifindex: u32,
        mode: XdpMode,
        until: Instant,
    ) -> Result<(FdLink, bool, Option<String>), DataplaneError> {
        let ebpf = self.loaded.as_mut().map(|l| &mut l.program).ok_or_else(|| DataplaneError::Refused {
            op: "attach interface",
            reason: "the data path was opened for reading, not loaded".to_owned(),
        })?;
        let xdp = program(ebpf, names::PROGRAM)?;
        let mut try_mode = |mode| {
            let id = loop {
                match xdp.attach_to_if_index(ifindex, mode) {
                    Err(error) if is_occupied(&error) && Instant::now() < until => thread::sleep(DETACHED_ASKED),
                    attached => break attached?,
                }
            };
            xdp.take_link(id)
        };
        let (link, generic, fallback) = match mode {
            XdpMode::Generic => (try_mode(AyaMode::Skb), true, None),
            XdpMode::Native => (try_mode(AyaMode::Driver), false, None),
            XdpMode::Auto => match try_mode(AyaMode::Driver) {
                Ok(link) => (Ok(link), false, None),
                // Whoever has it has it in every mode.
                Err(e) if is_occupied(&e) => (Err(e), true, None),
                Err(e) => (try_mode(AyaMode::Skb), true, Some(chain(&e))),
            },
        };
        let link = link.map_err(|error| {
            let remedy = if is_occupied(&error) {
                " (another XDP program is there: `ip link show` tells which; if it is a data path with another \
                 pin_path, `lbctl --offline --pin-path PATH dataplane detach` removes it)"
            } else {
                ""
            };
            kernel(format!("attach program to {interface}{remedy}"))(error)
        })?;
        let link = FdLink::try_from(link)
            .map_err(kernel(format!("hold link of {interface} (Linux 5.9 or later is needed)")))?;
        Ok((link, generic, fallback))
    }

    fn free_port(&self, ifindex: u32) -> Result<u16, DataplaneError> {
        let ports = self.arrays.ports();
        let own = ports.iter().position(|p| p.get().is_some_and(|(i, _)| i == ifindex));
        let free = || ports.iter().position(|p| p.get().is_none());
        let port = own.or_else(free).and_then(|p| u16::try_from(p).ok());
        port.ok_or(DataplaneError::Full { table: names::PORTS, limit: MAX_PORTS })
    }

    /// Enters an interface into the maps without attaching to it. Frames of
    /// [`KernelDataplane::test_run`] come in by the loopback interface, which is
    /// entered this way.
    ///
    /// # Errors
    /// When a map refuses it.
    pub fn enter_port(&mut self, port: u16, ifindex: u32, generic: bool, mac: Mac) -> Result<(), DataplaneError> {
        self.enter_trunk_port(port, ifindex, Tags::NONE, generic, mac)
    }

    /// The same for frames that have these tags on the interface.
    ///
    /// # Errors
    /// As [`KernelDataplane::enter_port`].
    pub fn enter_trunk_port(
        &mut self,
        port: u16,
        ifindex: u32,
        tags: Tags,
        generic: bool,
        mac: Mac,
    ) -> Result<(), DataplaneError> {
        let number = u32::from(port);
        self.tx_ports
            .set(number, ifindex, None, 0)
            .map_err(kernel(format!("enter interface {ifindex} into TX_PORTS")))?;
        self.ports
            .insert(place(ifindex, tags), number, 0)
            .map_err(kernel(format!("enter interface {ifindex} into PORT_OF_INTERFACE")))?;
        self.arrays.ports()[usize::from(port)].tags.store(tags.network().0, std::sync::atomic::Ordering::Relaxed);
        self.arrays.ports()[usize::from(port)].set(ifindex, generic, mac);
        Ok(())
    }

    /// Detaches one interface.
    ///
    /// # Errors
    /// When it is not attached, or the link cannot be removed.
    pub fn detach(&mut self, interface: &str) -> Result<(), DataplaneError> {
        let attachment = self.attachments()?.into_iter().find(|a| a.interface == interface);
        let attachment = attachment.ok_or_else(|| DataplaneError::Refused {
            op: "detach interface",
            reason: format!("{interface} is not attached"),
        })?;
        self.detach_index(attachment.ifindex)
    }

    pub(super) fn detach_index(&mut self, ifindex: u32) -> Result<(), DataplaneError> {
        let pin = link_pin(&self.pin_path, ifindex);
        fs::remove_file(&pin).map_err(kernel(format!("remove link {}", pin.display())))?;
        if let Some(port) = self.arrays.ports().iter().find(|p| p.get().is_some_and(|(i, _)| i == ifindex)) {
            port.clear();
        }
        let _ = self.ports.remove(&place(ifindex, Tags::NONE));
        Ok(())
    }

    /// Where the program is attached.
    ///
    /// # Errors
    /// When pins cannot be read.
    pub fn attachments(&self) -> Result<Vec<Attachment>, DataplaneError> {
        let mut attachments = Vec::new();
        for ifindex in linked_interfaces(&self.pin_path)? {
            let found = self.arrays.ports().iter().zip(0u16..).find_map(|(entry, number)| {
                entry.get().filter(|(i, _)| *i == ifindex).map(|(_, mac)| (entry.is_generic(), number, mac))
            });
            let Some((generic, port, mac)) = found else { continue };
            // One that is gone, or is seen from another network namespace, has no name.
            let interface = nix::net::if_::if_indextoname(ifindex)
                .ok()
                .and_then(|name| name.into_string().ok())
                // What one that does not exist is called by `if_indextoname`.
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| format!("ifindex-{ifindex}"));
            let mode = if generic { XdpMode::Generic } else { XdpMode::Native };
            attachments.push(Attachment { interface, ifindex, port, mac, mode, fallback: None });
        }
        Ok(attachments)
    }
}

/// A place as the two words that a key of `PORT_OF_INTERFACE` is.
fn place(ifindex: u32, tags: Tags) -> [u64; 2] {
    let Place { tags, ifindex, zero } = Place::new(ifindex, tags);
    let mut words = [0; 8];
    words[..4].copy_from_slice(&ifindex.to_ne_bytes());
    words[4..].copy_from_slice(&zero.to_ne_bytes());
    [tags, u64::from_ne_bytes(words)]
}

/// Whether the interface has a program already, in this mode or another.
fn is_occupied(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(SyscallError { io_error, .. }) = error else { return false };
    matches!(io_error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::AlreadyExists)
}
