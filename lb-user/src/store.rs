//! What the daemon must not forget: operators' overrides and the seed of the
//! flow hashes, as two files in its state directory.
//!
//! What must not be here: what an override means. The records are of this file
//! alone, so that the model knows neither serde nor yesterday's format.
//!
//! A file is replaced as a whole: written beside its place, brought to the disk,
//! renamed. Whoever loses power has the old one or the new one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    net::IpAddr,
    num::NonZeroU16,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    compile::{MemberKey, MemberOverride, Overrides},
    model::{Name, Weight},
};

const OVERRIDES: &str = "overrides.json";
const HASH_SEED: &str = "hash_seed";
/// What a file is called while it is written.
const UNFINISHED: &str = ".new";
/// What a file is called that cannot be used.
const BAD: &str = ".bad";

/// Version of the overrides' format.
const VERSION: u32 = 1;

/// The largest file of overrides, in bytes: some fifteen thousand members.
const MAX_OVERRIDES_BYTES: u64 = 4 << 20;
/// The longest file of a seed, in bytes.
const MAX_SEED_BYTES: u64 = 64;

/// Why something could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state directory is not usable.
    #[error("make state directory {}; name another one, or make it by hand with mode 0750", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The overrides are there and cannot be used.
    #[error(
        "use overrides of {}: operators' changes of members start empty; {aside}; set the changes again, \
         or mend the file, put it back in its place and restart",
        path.display()
    )]
    Overrides {
        /// The file.
        path: PathBuf,
        /// What became of the file.
        aside: Aside,
        /// What is wrong with it.
        source: BadFile,
    },
    /// The seed is there and cannot be used.
    #[error(
        "use hash seed of {}: it should be sixteen hexadecimal digits; write the other node's or an older copy's \
         seed into it, or remove it to have a new one drawn, which forgets the flows there are",
        path.display()
    )]
    Seed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BadFile,
    },
    /// No seed could be drawn.
    #[error("draw a hash seed from {}", path.display())]
    Draw {
        /// The source of random bytes.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Too much to be read again.
    #[error(
        "keep overrides in {}: they are {bytes} bytes and {MAX_OVERRIDES_BYTES} are the most; \
         clear the overrides of members that are gone",
        path.display()
    )]
    TooManyOverrides {
        /// The file, which is as it was.
        path: PathBuf,
        /// How long it would have become.
        bytes: u64,
    },
    /// A file could not be written; it is as it was.
    #[error("write {}; see that its file system has room and is writable", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// It cannot be read.
    #[error("read it")]
    Unreadable(#[source] io::Error),
    /// It is longer than it may be.
    #[error("it has more than {0} bytes")]
    TooLong(u64),
    /// It is not what it should be.
    #[error("parse it")]
    Malformed(#[source] serde_json::Error),
    /// Another program wrote it.
    #[error("it has version {0}, this program speaks version {VERSION}")]
    Version(u32),
    /// It says something that cannot be.
    #[error("{0}")]
    Impossible(String),
}

/// What became of a file that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Aside {
    /// It has another name now.
    Kept(PathBuf),
    /// It is where it was, and the next change will replace it.
    Left(io::ErrorKind),
}

impl std::fmt::Display for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kept(path) => write!(f, "the file was kept as {}", path.display()),
            Self::Left(why) => write!(f, "the file could not be put aside ({why}) and the next change replaces it"),
        }
    }
}

/// Makes the state directory (mode 0750) unless it is there.
///
/// # Errors
/// When it can be neither found nor made.
pub fn prepare(state_dir: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o750).create(state_dir);
    made.map_err(|source| StoreError::Directory { path: state_dir.to_owned(), source })
}

/// Reads the overrides; without a file there are none.
///
/// # Errors
/// When the file cannot be used. It is put aside then, so that the next
/// [`save_overrides`] does not destroy it: tell the operator, and go on with
/// empty overrides.
pub fn load_overrides(state_dir: &Path) -> Result<Overrides, StoreError> {
    let path = state_dir.join(OVERRIDES);
    let parsed = match read(&path, MAX_OVERRIDES_BYTES) {
        Ok(None) => return Ok(Overrides::default()),
        Ok(Some(bytes)) => parse(&bytes),
        Err(bad) => Err(bad),
    };
    parsed.map_err(|source| StoreError::Overrides { aside: put_aside(&path), path, source })
}

/// Replaces the kept overrides, making the state directory if need be. When it
/// returns they are on the disk.
///
/// # Errors
/// When they cannot be written. What was kept before is still there then.
pub fn save_overrides(state_dir: &Path, overrides: &Overrides) -> Result<(), StoreError> {
    prepare(state_dir)?;
    let path = state_dir.join(OVERRIDES);
    let members = overrides.iter().filter_map(|(key, change)| OverrideRecord::of(key, change)).collect();
    let written = serde_json::to_vec_pretty(&OverridesRecord { version: VERSION, members });
    let mut text = written.map_err(|e| StoreError::Write { path: path.clone(), source: e.into() })?;
    text.push(b'\n');
    let bytes = text.len() as u64;
    if bytes > MAX_OVERRIDES_BYTES {
        return Err(StoreError::TooManyOverrides { path, bytes });
    }
    replace(&path, &text)
}

/// The seed of the flow hashes, so that a restarted daemon hashes as before.
/// The first time one is drawn and kept.
///
/// # Errors
/// When it can be neither read nor drawn and kept. A bad file is not replaced:
/// with another seed, flows that are there would not be found again.
pub fn hash_seed(state_dir: &Path) -> Result<u64, StoreError> {
    prepare(state_dir)?;
    let path = state_dir.join(HASH_SEED);
    match read(&path, MAX_SEED_BYTES) {
        Ok(Some(text)) => parse_seed(&text).map_err(|source| StoreError::Seed { path, source }),
        Ok(None) => {
            let seed = draw()?;
            replace(&path, format!("{seed:016x}\n").as_bytes())?;
            Ok(seed)
        }
        Err(source) => Err(StoreError::Seed { path, source }),
    }
}

fn parse_seed(text: &[u8]) -> Result<u64, BadFile> {
    let digits = text.trim_ascii();
    let is_seed = digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit);
    let seed = std::str::from_utf8(digits).ok().filter(|_| is_seed).and_then(|d| u64::from_str_radix(d, 16).ok());
    seed.ok_or_else(|| BadFile::Impossible(format!("it holds {:?}", String::from_utf8_lossy(text))))
}

fn draw() -> Result<u64, StoreError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    let read = File::open(path).and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|source| StoreError::Draw { path: path.to_owned(), source })?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The bytes of a file, or `None` if there is none.
fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, BadFile> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(BadFile::Unreadable(e)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(BadFile::Unreadable)?;
    if bytes.len() as u64 > limit { Err(BadFile::TooLong(limit)) } else { Ok(Some(bytes)) }
}

fn put_aside(path: &Path) -> Aside {
    let bad = beside(path, BAD);
    match fs::rename(path, &bad) {
        Ok(()) => Aside::Kept(bad),
        Err(e) => Aside::Left(e.kind()),
    }
}

/// Replaces a file such that there is always the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = || -> io::Result<()> {
        // A fixed name: what a crash leaves behind, the next write takes away.
        let unfinished = beside(path, UNFINISHED);
        match fs::remove_file(&unfinished) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // The rename itself is safe only with its directory.
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    written().map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Any version of the file.
#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverridesRecord {
    version: u32,
    members: Vec<OverrideRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideRecord {
    pool: String,
    address: IpAddr,
    port: NonZeroU16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    admin_state_up: Option<bool>,
    #[serde(default)]
    drain: bool,
}

fn parse(bytes: &[u8]) -> Result<Overrides, BadFile> {
    // The version first: of another one nothing else can be expected to fit.
    let AnyVersion { version } = serde_json::from_slice(bytes).map_err(BadFile::Malformed)?;
    if version != VERSION {
        return Err(BadFile::Version(version));
    }
    let record: OverridesRecord = serde_json::from_slice(bytes).map_err(BadFile::Malformed)?;
    let mut overrides = Overrides::default();
    for member in record.members {
        let (key, change) = member.read()?;
        if overrides.get(&key).is_some() {
            return Err(BadFile::Impossible(format!(
                "member {}:{} of {} is there twice",
                key.address, key.port, key.pool
            )));
        }
        overrides.set(key, change);
    }
    Ok(overrides)
}

impl OverrideRecord {
    /// `None` for the port 0, which no member has.
    fn of(key: &MemberKey, change: &MemberOverride) -> Option<Self> {
        Some(Self {
            pool: key.pool.clone(),
            address: key.address,
            port: NonZeroU16::new(key.port)?,
            weight: change.weight.map(Weight::get),
            admin_state_up: change.admin_state_up,
            drain: change.drain,
        })
    }

    fn read(self) -> Result<(MemberKey, MemberOverride), BadFile> {
        let is_label =
            self.pool.split_once('/').is_some_and(|(lb, pool)| Name::new(lb).is_ok() && Name::new(pool).is_ok());
        if !is_label {
            let reason = format!("pool {:?} is not named as load_balancer/pool", self.pool);
            return Err(BadFile::Impossible(reason));
        }
        let weight = match self.weight {
            None => None,
            Some(weight) => Some(Weight::new(weight).ok_or_else(|| {
                BadFile::Impossible(format!(
                    "weight {weight} of {}:{} is above {}",
                    self.address,
                    self.port,
                    Weight::MAX
                ))
            })?),
        };
        let key = MemberKey { pool: self.pool, address: self.address, port: self.port.get() };
        Ok((key, MemberOverride { weight, admin_state_up: self.admin_state_up, drain: self.drain }))
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
