//! What a rig has made, on disk, so that exactly that can be removed: by the
//! rig itself, on an interrupt, or by `krater-rig down` in another process.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process,
    sync::{Arc, LazyLock, Mutex, MutexGuard, Once, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::{netns, wait};

/// Records and directories of rigs. It does not outlive a boot, as namespaces
/// and pins do not either.
pub const DIRECTORY: &str = "/run/krater-rig";

/// A process, told from a later one of the same number by when it started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Its number, also that of its group.
    pub pid: i32,
    /// Clock ticks from boot to its start.
    pub started: u64,
    /// What it is called in messages.
    pub name: String,
}

/// Everything a rig has made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The rig's id, part of every name.
    pub id: String,
    /// Who made it.
    pub owner: ProcessRef,
    /// Whether it is to stay when its owner ends.
    pub kept: bool,
    /// Its namespaces.
    pub namespaces: Vec<String>,
    /// Its processes.
    pub processes: Vec<ProcessRef>,
    /// Directory of its pins.
    pub pin_path: PathBuf,
    /// Directory of its files.
    pub directory: PathBuf,
}

impl Record {
    /// Every record there is, by id.
    ///
    /// # Errors
    /// When the directory or a record in it cannot be read.
    pub fn all() -> Result<Vec<Self>> {
        let mut records = Vec::new();
        let entries = match fs::read_dir(DIRECTORY) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(records),
            Err(error) => return Err(error).with_context(|| format!("list {DIRECTORY}")),
        };
        for entry in entries {
            let path = entry.with_context(|| format!("list {DIRECTORY}"))?.path();
            if path.extension().is_some_and(|e| e == "json") {
                // It may have been removed by its owner a moment ago, or just begun.
                if let Ok(Some(record)) = Self::load(&path) {
                    records.push(record);
                }
            }
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(records)
    }

    fn load(path: &Path) -> Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("read {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    fn save(&self) -> Result<()> {
        let path = path_of(&self.id);
        let aside = path.with_extension("new");
        let text = serde_json::to_vec_pretty(self).context("write a record")?;
        fs::write(&aside, text).with_context(|| format!("write {}", aside.display()))?;
        fs::rename(&aside, &path).with_context(|| format!("write {}", path.display()))
    }

    /// Whether nobody will remove it any more: its owner is gone and nobody
    /// asked to keep it.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        !self.kept && !self.owner.is_running()
    }

    /// Whether its owner still works with it.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        !self.kept && self.owner.is_running()
    }

    /// Removes everything in it, then the record itself. What is already gone
    /// is no error.
    ///
    /// # Errors
    /// The first one met; the rest is removed all the same, and the record
    /// stays so that removing can be tried again.
    pub fn remove(&self) -> Result<()> {
        let mut results = Vec::new();
        for process in self.processes.iter().rev() {
            results.push(process.kill(&self.namespaces));
        }
        for namespace in &self.namespaces {
            results.push(netns::delete(namespace));
        }
        for directory in [&self.pin_path, &self.directory] {
            results.push(remove_directory(directory));
        }
        results.into_iter().collect::<Result<()>>()?;
        match fs::remove_file(path_of(&self.id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("remove a record"),
            _ => Ok(()),
        }
    }
}

/// Removes a directory if it is there. Removing a directory of pins detaches
/// and unloads what they held.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_directory(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn path_of(id: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{id}.json"))
}

/// Removes the rigs that nobody will remove any more; returns their ids.
///
/// # Errors
/// When one cannot be removed.
pub fn remove_abandoned() -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for record in Record::all()? {
        if record.is_abandoned() {
            record.remove().with_context(|| format!("remove the abandoned rig {}", record.id))?;
            ids.push(record.id);
        }
    }
    Ok(ids)
}

impl ProcessRef {
    /// A process as it is now.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn of(pid: i32, name: &str) -> Result<Self> {
        let Some(stat) = Stat::of(pid) else { bail!("process {pid} ({name}) is gone") };
        Ok(Self { pid, started: stat.started, name: name.to_owned() })
    }

    /// Whether it is this one that runs under its number.
    #[must_use]
    pub fn is_running(&self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.started == self.started && stat.state != 'Z')
    }

    /// Kills it with its group and waits until it has ended. A group whose
    /// leader has ended is recognised by the namespace it runs in.
    fn kill(&self, namespaces: &[String]) -> Result<()> {
        let orphans = || -> bool {
            namespaces.iter().any(|namespace| {
                super::command::run("ip", &["netns", "pids", namespace]).is_ok_and(|pids| {
                    pids.lines().any(|pid| {
                        pid.trim()
                            .parse()
                            .ok()
                            .and_then(Stat::of)
                            .is_some_and(|s| s.group == self.pid && s.state != 'Z')
                    })
                })
            })
        };
        if self.is_running() || (Stat::of(self.pid).is_none() && orphans()) {
            let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
            let what = format!("process {} ({}) to end", self.pid, self.name);
            wait::until_true(&what, Duration::from_secs(5), || Ok(!self.is_running()))?;
        }
        Ok(())
    }
}

/// What `/proc/PID/stat` says.
struct Stat {
    state: char,
    group: i32,
    started: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(line: &str) -> Option<Self> {
        // The second field is the program's name in brackets and may hold anything; the third follows the last bracket.
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The record of a rig that is being used. Dropping it removes the record, so
/// it is dropped after everything that is entered in it.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    record: Mutex<Record>,
    id: String,
}

/// Records of this process, for the interrupt handler.
static LIVE: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

impl Recorder {
    /// Begins a record under an id that nobody else has.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn begin() -> Result<Self> {
        watch_interrupts();
        fs::create_dir_all(DIRECTORY).with_context(|| format!("create {DIRECTORY}; the rig needs root"))?;
        let owner = ProcessRef::of(i32::try_from(process::id()).unwrap_or(i32::MAX), "owner")?;
        for attempt in 0..64u32 {
            let id = fresh_id(attempt);
            let claimed = fs::File::options().write(true).create_new(true).open(path_of(&id));
            match claimed {
                Ok(mut file) => {
                    let record = Record {
                        id: id.clone(),
                        owner,
                        kept: false,
                        namespaces: Vec::new(),
                        processes: Vec::new(),
                        pin_path: PathBuf::from(format!("/sys/fs/bpf/krater-{id}")),
                        directory: Path::new(DIRECTORY).join(&id),
                    };
                    file.write_all(&serde_json::to_vec_pretty(&record).context("write a record")?)?;
                    fs::create_dir(&record.directory)
                        .with_context(|| format!("create {}", record.directory.display()))?;
                    lock(&LIVE).insert(id.clone());
                    return Ok(Self { shared: Arc::new(Shared { record: Mutex::new(record), id }) });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("create a record in {DIRECTORY}")),
            }
        }
        bail!("no free rig id in {DIRECTORY}: remove old rigs with `krater-rig down`")
    }

    /// The record as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Record {
        lock(&self.shared.record).clone()
    }

    /// Enters a namespace that is about to be made.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn add_namespace(&self, name: &str) -> Result<()> {
        self.change(|record| record.namespaces.push(name.to_owned()))
    }

    /// Enters a process.
    ///
    /// # Errors
    /// When it is gone already or the record cannot be written.
    pub fn add_process(&self, pid: i32, name: &str) -> Result<()> {
        let process = ProcessRef::of(pid, name)?;
        self.change(|record| {
            record.processes.retain(ProcessRef::is_running);
            record.processes.push(process);
        })
    }

    /// Lets everything stay when the owner ends.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn keep(&self) -> Result<()> {
        self.change(|record| record.kept = true)?;
        lock(&LIVE).remove(&self.shared.id);
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut record = lock(&self.shared.record);
        change(&mut record);
        record.save()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        lock(&LIVE).remove(&self.id);
        let record = self.record.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The guards have removed nearly all of it; what a failed start left behind goes now.
        if !record.kept
            && let Err(error) = record.remove()
        {
            eprintln!("rig {}: {error:#}", self.id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fresh_id(attempt: u32) -> String {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    let mixed = (nanos ^ process::id().rotate_left(16)).wrapping_add(attempt).wrapping_mul(0x9e37_79b1);
    format!("{:04x}", mixed >> 16)
}

/// On an interrupt, removes the rigs of this process and ends it.
fn watch_interrupts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        thread::spawn(|| {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            let interrupted = runtime.block_on(async {
                let (Ok(mut interrupt), Ok(mut terminate)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return false;
                };
                tokio::select! { _ = interrupt.recv() => true, _ = terminate.recv() => true }
            });
            if interrupted {
                eprintln!("\nrig: interrupted, removing what was made");
                for id in lock(&LIVE).clone() {
                    if let Ok(Some(record)) = Record::load(&path_of(&id))
                        && let Err(error) = record.remove()
                    {
                        eprintln!("rig {id}: {error:#}");
                    }
                }
                process::exit(130);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_process_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let line = "42 (a) b) (c) S 1 7 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.group, stat.started), ('S', 7, 98765));
    }

    #[test]
    fn this_process_runs_and_one_that_started_at_another_time_does_not() {
        let me = ProcessRef::of(i32::try_from(process::id()).unwrap(), "me").unwrap();
        assert!(me.is_running());
        assert!(!ProcessRef { started: me.started + 1, ..me }.is_running());
    }
}
