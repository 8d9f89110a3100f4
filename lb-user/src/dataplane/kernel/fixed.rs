//! The arrays whose address the program has in its code: made, pinned, and put into
//! the object before the kernel sees it (see [`lb_common::array`]).

use std::{
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use aya::maps::MapData;
use aya_obj::generated::{BPF_F_MMAPABLE, bpf_map_type::BPF_MAP_TYPE_ARRAY};
use lb_common::array::{FixedArray, marked, put_address};

use super::{DataplaneError, kernel};

/// An object in which each mark of an array is the array's address, for as long as this
/// is there: until its programs are loaded, which then hold the arrays themselves.
#[derive(Debug)]
pub struct ResolvedObject {
    bytes: Vec<u8>,
    _maps: Vec<MapData>,
}

impl ResolvedObject {
    /// Resolves the marks of an object. Arrays that are not pinned under `pin_path` are
    /// made, empty, and pinned there.
    ///
    /// # Errors
    /// [`DataplaneError::Kernel`] when the kernel refuses to make or pin a map,
    /// [`DataplaneError::Refused`] when one that is pinned has another size.
    pub fn new(object: &[u8], pin_path: &Path) -> Result<Self, DataplaneError> {
        let maps: Vec<MapData> =
            FixedArray::ALL.iter().map(|array| open_or_make(*array, pin_path)).collect::<Result<_, _>>()?;
        let mut bytes = object.to_vec();
        // Instructions lie at multiples of their eight bytes, as do sections.
        for at in (0..bytes.len()).step_by(8) {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            if let Some(map) = marked(rest).and_then(|array| maps.get(array as usize)) {
                put_address(rest, map.fd().as_fd().as_raw_fd());
            }
        }
        Ok(Self { bytes, _maps: maps })
    }

    /// The object, for `aya::EbpfLoader::load`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes of the one value of the map that an array is.
fn value_bytes(array: FixedArray) -> u32 {
    array.entries() * array.entry_bytes() as u32
}

fn open_or_make(array: FixedArray, pin_path: &Path) -> Result<MapData, DataplaneError> {
    let (name, path) = (array.name(), pin_path.join(array.name()));
    if path.exists() {
        let failed = |error| kernel(format!("open map {name} at {}", pin_path.display()))(error);
        let map = MapData::from_pin(&path).map_err(failed)?;
        let info = map.info().map_err(failed)?;
        if info.value_size() != value_bytes(array) || info.max_entries() != 1 {
            return Err(DataplaneError::Refused {
                op: "adopt data path",
                reason: format!("{} is not the array that this version knows: remove the data path", path.display()),
            });
        }
        return Ok(map);
    }
    let made = aya_obj::Map::new_from_params(
        BPF_MAP_TYPE_ARRAY as u32,
        size_of::<u32>() as u32,
        value_bytes(array),
        1,
        BPF_F_MMAPABLE,
    );
    let map = MapData::create(made, name, None).map_err(kernel(format!("make map {name}")))?;
    map.pin(&path).map_err(kernel(format!("pin map {name} at {}", pin_path.display())))?;
    Ok(map)
}
