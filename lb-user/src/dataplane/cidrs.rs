//! `CIDRS4` and `CIDRS6`: from where listeners may be reached. Kernel tries, which
//! cannot be mapped: every access is a system call.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Mutex, PoisonError},
};

use aya::maps::{
    Map, MapData, MapError,
    lpm_trie::{Key, LpmTrie},
};
use lb_common::{
    cidr::{Cidr4, Cidr6, LISTENER_BITS},
    limits::MAX_CIDRS,
    names,
};

use super::{
    DataplaneError, ListenerId,
    kernel::kernel,
    tables::{address_from_words, address_words},
};

/// A prefix: an address and how many of its bits count.
pub type Prefix = (IpAddr, u8);

/// Where prefixes are kept.
pub(super) trait Prefixes {
    /// The prefixes of all listeners.
    fn all(&self) -> Result<BTreeMap<ListenerId, BTreeSet<Prefix>>, DataplaneError>;
    /// Replaces a listener's prefixes. New ones come before old ones go.
    fn set(&self, listener: ListenerId, prefixes: &BTreeSet<Prefix>) -> Result<(), DataplaneError>;
}

impl Prefixes for lb_ebpf::host::Cidrs {
    fn all(&self) -> Result<BTreeMap<ListenerId, BTreeSet<Prefix>>, DataplaneError> {
        let mut all = BTreeMap::<_, BTreeSet<_>>::new();
        for (listener, address, length) in self.everything() {
            all.entry(ListenerId(listener)).or_default().insert((address, length));
        }
        Ok(all)
    }

    fn set(&self, listener: ListenerId, prefixes: &BTreeSet<Prefix>) -> Result<(), DataplaneError> {
        self.set(listener.0, &prefixes.iter().copied().collect::<Vec<_>>());
        Ok(())
    }
}

/// The words of a [`Cidr4`] and of a [`Cidr6`].
type Words4 = [u32; 2];
type Words6 = [u32; 5];

/// The kernel's tries.
#[derive(Debug)]
pub(super) struct Cidrs(Mutex<Tries>);

#[derive(Debug)]
struct Tries {
    four: LpmTrie<MapData, Words4, u64>,
    six: LpmTrie<MapData, Words6, u64>,
}

fn key4(listener: u16, address: Ipv4Addr, length: u8) -> Key<Words4> {
    let data = Cidr4::new(listener, u32::from_ne_bytes(address.octets()));
    Key::new(LISTENER_BITS + u32::from(length), [data.listener, data.address])
}

fn key6(listener: u16, address: IpAddr, length: u8) -> Key<Words6> {
    let Cidr6 { listener, address: [a, b, c, d] } = Cidr6::new(listener, address_words(address));
    Key::new(LISTENER_BITS + u32::from(length), [listener, a, b, c, d])
}

/// The listener and the bits of the address that a key's length counts.
fn parts(listener: u32, length: u32) -> Option<(ListenerId, u8)> {
    let listener = u16::try_from(u32::from_be(listener)).ok()?;
    Some((ListenerId(listener), u8::try_from(length.checked_sub(LISTENER_BITS)?).ok()?))
}

impl Tries {
    fn all(&self) -> Result<BTreeSet<(ListenerId, Prefix)>, MapError> {
        let mut all = BTreeSet::new();
        for key in self.four.keys() {
            let (key, [listener, address]) = key.map(|key| (key, key.data()))?;
            if let Some((listener, length)) = parts(listener, key.prefix_len()) {
                all.insert((listener, (IpAddr::V4(Ipv4Addr::from(address.to_ne_bytes())), length)));
            }
        }
        for key in self.six.keys() {
            let (key, [listener, a, b, c, d]) = key.map(|key| (key, key.data()))?;
            // In memory order, as in `Cidr6`.
            let word = |low: u32, high: u32| u64::from_le(u64::from(low) | u64::from(high) << 32);
            if let Some((listener, length)) = parts(listener, key.prefix_len()) {
                all.insert((listener, (address_from_words([word(a, b), word(c, d)], true), length)));
            }
        }
        Ok(all)
    }

    fn insert(&mut self, listener: u16, (address, length): Prefix) -> Result<(), MapError> {
        match address {
            IpAddr::V4(four) => self.four.insert(&key4(listener, four, length), 1, 0),
            IpAddr::V6(_) => self.six.insert(&key6(listener, address, length), 1, 0),
        }
    }

    fn remove(&mut self, listener: u16, (address, length): Prefix) -> Result<(), MapError> {
        match address {
            IpAddr::V4(four) => self.four.remove(&key4(listener, four, length)),
            IpAddr::V6(_) => self.six.remove(&key6(listener, address, length)),
        }
    }
}

impl Cidrs {
    /// Opens the tries pinned under a directory.
    pub(super) fn open(pin_path: &Path) -> Result<Self, DataplaneError> {
        let pinned = |name: &str| {
            let path = pin_path.join(name);
            MapData::from_pin(&path).map(Map::LpmTrie).map_err(kernel(format!("open map {}", path.display())))
        };
        let wrong = |name: &str| kernel(format!("use map {name} at {}", pin_path.display()));
        let four = pinned(names::CIDRS4)?.try_into().map_err(wrong(names::CIDRS4))?;
        let six = pinned(names::CIDRS6)?.try_into().map_err(wrong(names::CIDRS6))?;
        Ok(Self(Mutex::new(Tries { four, six })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Tries) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether an address lies in one of a listener's prefixes.
    pub(super) fn allows(&self, listener: u16, address: IpAddr) -> bool {
        self.with(|tries| match address {
            IpAddr::V4(four) => tries.four.get(&key4(listener, four, 32), 0).is_ok(),
            IpAddr::V6(_) => tries.six.get(&key6(listener, address, 128), 0).is_ok(),
        })
    }
}

impl Prefixes for Cidrs {
    fn all(&self) -> Result<BTreeMap<ListenerId, BTreeSet<Prefix>>, DataplaneError> {
        let found = self.with(|tries| tries.all()).map_err(kernel("list CIDRS4 and CIDRS6"))?;
        let mut all = BTreeMap::<_, BTreeSet<_>>::new();
        for (listener, prefix) in found {
            all.entry(listener).or_default().insert(prefix);
        }
        Ok(all)
    }

    fn set(&self, listener: ListenerId, prefixes: &BTreeSet<Prefix>) -> Result<(), DataplaneError> {
        let before = Prefixes::all(self)?.remove(&listener).unwrap_or_default();
        self.with(|tries| {
            for (done, prefix) in prefixes.difference(&before).enumerate() {
                if let Err(error) = tries.insert(listener.0, *prefix) {
                    // What the listener had not asked for before must not stay.
                    for prefix in prefixes.difference(&before).take(done) {
                        let _ = tries.remove(listener.0, *prefix);
                    }
                    return Err(match error {
                        MapError::SyscallError(error)
                            if error.io_error.raw_os_error() == Some(nix::errno::Errno::ENOSPC as i32) =>
                        {
                            DataplaneError::Full { table: names::CIDRS4, limit: MAX_CIDRS }
                        }
                        error => kernel(format!("enter a prefix of listener {}", listener.0))(error),
                    });
                }
            }
            for prefix in before.difference(prefixes) {
                let removed = tries.remove(listener.0, *prefix);
                removed.map_err(kernel(format!("remove a prefix of listener {}", listener.0)))?;
            }
            Ok(())
        })
    }
}
