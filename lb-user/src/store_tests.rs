#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{error::Error, os::unix::fs::PermissionsExt};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn key(n: u8) -> MemberKey {
    MemberKey { pool: "web/app".to_owned(), address: IpAddr::from([10, 0, 0, n]), port: 8080 }
}

fn some_overrides() -> Overrides {
    let mut overrides = Overrides::default();
    overrides.set_weight(key(1), Weight::new(7));
    overrides.set_drain(key(2), true);
    overrides.set_admin_state_up(key(3), Some(false));
    overrides
}

fn write(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join(OVERRIDES);
    fs::write(&path, text).unwrap();
    path
}

/// Everything the operator is told about an error.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Loads a file that cannot be used and gives back what is told about it.
fn refused(text: &str) -> String {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, text);
    let error = load_overrides(dir.path()).unwrap_err();
    assert_eq!(names_in(dir.path()), ["overrides.json.bad"]);
    assert_eq!(fs::read_to_string(dir.path().join("overrides.json.bad")).unwrap(), text);
    let told = told(&error);
    assert!(told.contains(&*path.to_string_lossy()) && told.contains("overrides.json.bad"), "{told}");
    // Life goes on.
    save_overrides(dir.path(), &some_overrides()).unwrap();
    assert_eq!(load_overrides(dir.path()).unwrap(), some_overrides());
    told
}

#[test]
fn without_a_file_there_are_no_overrides() {
    let dir = TempDir::new().unwrap();
    assert!(load_overrides(dir.path()).unwrap().is_empty());
    assert!(load_overrides(&dir.path().join("nowhere")).unwrap().is_empty());
}

#[test]
fn overrides_come_back_and_the_directory_is_the_groups_to_read() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    save_overrides(&state, &some_overrides()).unwrap();
    assert_eq!(load_overrides(&state).unwrap(), some_overrides());
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(fs::metadata(state.join(OVERRIDES)).unwrap().permissions().mode() & 0o7137, 0);
    save_overrides(&state, &Overrides::default()).unwrap();
    assert!(load_overrides(&state).unwrap().is_empty());
    assert_eq!(names_in(&state), ["overrides.json"]);
}

#[test]
fn a_crash_while_writing_leaves_the_old_overrides() {
    let dir = TempDir::new().unwrap();
    save_overrides(dir.path(), &some_overrides()).unwrap();
    let whole = fs::read(dir.path().join(OVERRIDES)).unwrap();
    fs::write(dir.path().join("overrides.json.new"), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(load_overrides(dir.path()).unwrap(), some_overrides());
    save_overrides(dir.path(), &Overrides::default()).unwrap();
    assert!(load_overrides(dir.path()).unwrap().is_empty());
    assert_eq!(names_in(dir.path()), ["overrides.json"]);
}

#[test]
fn a_link_in_the_place_of_the_unfinished_file_is_not_followed() {
    let dir = TempDir::new().unwrap();
    let victim = dir.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    std::os::unix::fs::symlink(&victim, dir.path().join("overrides.json.new")).unwrap();
    save_overrides(dir.path(), &some_overrides()).unwrap();
    assert_eq!(fs::read_to_string(victim).unwrap(), "mine");
    assert_eq!(load_overrides(dir.path()).unwrap(), some_overrides());
}

#[test]
fn every_partial_file_is_put_aside() {
    let dir = TempDir::new().unwrap();
    save_overrides(dir.path(), &some_overrides()).unwrap();
    let whole = fs::read_to_string(dir.path().join(OVERRIDES)).unwrap();
    let whole = whole.trim_end();
    for end in 0..whole.len() {
        write(&dir, &whole[..end]);
        assert!(matches!(
            load_overrides(dir.path()),
            Err(StoreError::Overrides { source: BadFile::Malformed(_), aside: Aside::Kept(_), .. })
        ));
        assert!(load_overrides(dir.path()).unwrap().is_empty());
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told() {
    let member = |rest: &str| format!(r#"{{"version":1,"members":[{rest}]}}"#);
    let one = r#"{"pool":"web/app","address":"10.0.0.1","port":80,"drain":true}"#;
    assert!(refused("no json").contains("line 1 column"));
    assert!(refused(r#"{"version":2,"people":[]}"#).contains("it has version 2, this program speaks version 1"));
    assert!(refused(&member(r#"{"pool":"web/app","address":"10.0.0.1","port":80,"colour":"red"}"#)).contains("colour"));
    assert!(refused(&member(r#"{"pool":"web/app","address":"10.0.0.1","port":0}"#)).contains("nonzero"));
    assert!(
        refused(&member(r#"{"pool":"web/app","address":"10.0.0.1","port":80,"weight":257}"#))
            .contains("weight 257 of 10.0.0.1:80 is above 256")
    );
    assert!(refused(&member(r#"{"pool":"web","address":"10.0.0.1","port":80}"#)).contains("load_balancer/pool"));
    assert!(refused(&member(r#"{"pool":"a/b/c","address":"10.0.0.1","port":80}"#)).contains("load_balancer/pool"));
    assert!(refused(&member(&format!("{one},{one}"))).contains("there twice"));
    assert!(refused(&" ".repeat((4 << 20) + 1)).contains("more than 4194304 bytes"));
}

#[test]
fn something_that_is_no_file_is_put_aside_too() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join(OVERRIDES)).unwrap();
    let error = load_overrides(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Overrides { source: BadFile::Unreadable(_), aside: Aside::Kept(_), .. }));
    save_overrides(dir.path(), &some_overrides()).unwrap();
    assert_eq!(load_overrides(dir.path()).unwrap(), some_overrides());
}

#[test]
fn more_than_can_be_read_again_is_not_written() {
    let dir = TempDir::new().unwrap();
    save_overrides(dir.path(), &some_overrides()).unwrap();
    let many = (0..40_000u32).map(|n| {
        let address = IpAddr::from(n.to_be_bytes());
        (MemberKey { address, ..key(0) }, MemberOverride { drain: true, ..MemberOverride::default() })
    });
    let error = save_overrides(dir.path(), &many.collect()).unwrap_err();
    assert!(matches!(error, StoreError::TooManyOverrides { .. }), "{error}");
    assert_eq!(load_overrides(dir.path()).unwrap(), some_overrides());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = save_overrides(&file, &some_overrides()).unwrap_err();
    assert!(matches!(error, StoreError::Directory { .. }));
    assert!(told(&error).contains(&*file.to_string_lossy()), "{}", told(&error));
    fs::create_dir_all(dir.path().join("overrides.json.new/x")).unwrap();
    assert!(matches!(save_overrides(dir.path(), &some_overrides()), Err(StoreError::Write { .. })));
}

#[test]
fn a_seed_is_drawn_once_and_kept() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let seed = hash_seed(&one.path().join("state")).unwrap();
    assert_eq!(hash_seed(&one.path().join("state")).unwrap(), seed);
    assert_ne!(hash_seed(other.path()).unwrap(), seed);
    fs::write(other.path().join(HASH_SEED), "00000000DEADbeef").unwrap();
    assert_eq!(hash_seed(other.path()).unwrap(), 0xdead_beef);
}

#[test]
fn a_bad_seed_is_neither_used_nor_replaced() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(HASH_SEED);
    for text in ["", "12", "00000000deadbeeg", "+000000deadbeef1", &"0".repeat(100)] {
        fs::write(&path, text).unwrap();
        let error = hash_seed(dir.path()).unwrap_err();
        assert!(told(&error).contains(&*path.to_string_lossy()) && told(&error).contains("remove it"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

fn any_override() -> impl Strategy<Value = (MemberKey, MemberOverride)> {
    let address = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    let weight = prop::option::of((0..=Weight::MAX).prop_map(|w| Weight::new(w).unwrap()));
    let change = (weight, prop::option::of(any::<bool>()), any::<bool>());
    ("[a-z:._-]{1,9}/[A-Z0-9]{1,9}", address, 1..=u16::MAX, change).prop_map(|(pool, address, port, change)| {
        let (weight, admin_state_up, drain) = change;
        (MemberKey { pool, address, port }, MemberOverride { weight, admin_state_up, drain })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn all_overrides_come_back(changes in prop::collection::vec(any_override(), 0..20)) {
        let dir = TempDir::new().unwrap();
        let overrides: Overrides = changes.into_iter().collect();
        save_overrides(dir.path(), &overrides).unwrap();
        prop_assert_eq!(load_overrides(dir.path()).unwrap(), overrides);
    }
}
