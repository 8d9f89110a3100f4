//! What the programs say to a person: outputs, messages and exit codes that
//! need neither root nor a kernel.
#![forbid(unsafe_code)]

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Paths, Topology,
    lbd::{Answer, run_lbctl, run_program},
    pool_file::{EXAMPLE, PoolFile},
};

fn code(answer: &Answer) -> i32 {
    answer.status.code().unwrap_or(-1)
}

fn paths(directory: &Path) -> Paths {
    Paths {
        directory: directory.to_owned(),
        pin_path: "/sys/fs/bpf/krater-cli-test".into(),
        socket: directory.join("lbd.sock"),
        state_dir: directory.join("state"),
        config: directory.join("krater.toml"),
        log: directory.join("lbd.log"),
    }
}

fn check(text: &str) -> Result<Answer> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("pools.toml");
    fs::write(&file, text)?;
    let file = file.to_str().context("a path that is no text")?;
    run_program("lbd", &["check", "--config", file])
}

fn good() -> Result<String> {
    PoolFile::for_rig(Topology::TwoArmed, &paths(Path::new("/run/krater-cli-test"))).text()
}

#[test]
fn the_example_is_in_order() -> Result<()> {
    let answer = run_program("lbd", &["check", "--config", EXAMPLE])?;
    ensure!(code(&answer) == 0, "{answer:?}");
    Ok(())
}

#[test]
fn a_good_file_is_in_order_and_touches_nothing() -> Result<()> {
    let answer = check(&good()?)?;
    ensure!(code(&answer) == 0, "{answer:?}");
    ensure!(!Path::new("/run/krater-cli-test").exists() && !Path::new("/sys/fs/bpf/krater-cli-test").exists());
    Ok(())
}

#[test]
fn a_bad_file_is_refused_with_its_line_field_reason_and_remedy() -> Result<()> {
    let good = good()?;
    for (from, to, words) in [
        ("weight = 1", "weight = 257", &["weight", "256"][..]),
        ("SOURCE_IP_PORT", "FASTEST", &["FASTEST", "SOURCE_IP"]),
        ("default_pool = \"app\"", "default_pool = \"nowhere\"", &["nowhere"]),
        ("vip_address = \"10.77.0.10\"", "vip_address = \"10.77.0.300\"", &["10.77.0.300"]),
        ("protocol = \"TCP\"", "protocol = \"HTTP\"", &["HTTP"]),
        ("protocol_port = 80\n", "protocol_port = 0\n", &["protocol_port"]),
        ("type = \"TCP\"", "type = \"UDP-CONNECT\"", &["speaks TCP", "no UDP-CONNECT monitor", "HTTPS"]),
        ("max_flows", "max_flow", &["max_flow"]),
    ] {
        let bad = good.replacen(from, to, 1);
        ensure!(bad != good, "the test's own replacement of {from:?} found nothing in\n{good}");
        let line = bad.lines().zip(good.lines()).position(|(a, b)| a != b).context("no line differs")? + 1;
        let answer = check(&bad)?;
        ensure!(code(&answer) == 1, "{to}: {answer:?}");
        for word in words.iter().copied().chain(["pools.toml"]) {
            ensure!(answer.stderr.contains(word), "{to}: no {word:?} in {}", answer.stderr);
        }
        let place = format!(":{line}");
        let place_in_words = format!("line {line}");
        ensure!(
            answer.stderr.contains(&place) || answer.stderr.contains(&place_in_words),
            "{to} is in line {line}, which is not in: {}",
            answer.stderr
        );
    }
    Ok(())
}

#[test]
fn every_mistake_of_a_file_is_named_at_once() -> Result<()> {
    let bad =
        good()?.replace("weight = 1", "weight = 300").replacen("default_pool = \"app\"", "default_pool = \"no\"", 1);
    let answer = check(&bad)?;
    ensure!(code(&answer) == 1, "{answer:?}");
    ensure!(answer.stderr.matches("weight").count() >= 2, "{}", answer.stderr);
    Ok(())
}

#[test]
fn what_is_no_toml_and_what_is_not_there_is_said_so() -> Result<()> {
    let answer = check("[dataplane\n")?;
    ensure!(code(&answer) == 1 && answer.stderr.contains("pools.toml"), "{answer:?}");
    let answer = run_program("lbd", &["check", "--config", "/nonexistent/krater.toml"])?;
    ensure!(code(&answer) == 1 && answer.stderr.contains("/nonexistent/krater.toml"), "{answer:?}");
    let answer = run_program("lbd", &["--config", "/nonexistent/krater.toml"])?;
    ensure!(code(&answer) != 0 && answer.stderr.contains("/nonexistent/krater.toml"), "{answer:?}");
    Ok(())
}

#[test]
fn usage_errors_exit_with_2_and_help_with_0() -> Result<()> {
    for arguments in
        [&["member"][..], &["dance"], &["member", "set", "m1", "--weight", "heavy"], &["-o", "xml", "status"]]
    {
        let answer = run_lbctl(arguments)?;
        ensure!(code(&answer) == 2, "lbctl {arguments:?}: {answer:?}");
    }
    ensure!(code(&run_program("lbd", &[])?) == 2);
    for program in ["lbctl", "lbd"] {
        for option in ["--help", "--version"] {
            let answer = run_program(program, &[option])?;
            ensure!(code(&answer) == 0 && !answer.stdout.is_empty(), "{program} {option}: {answer:?}");
        }
    }
    Ok(())
}

#[test]
fn without_lbd_the_exit_code_is_3_and_the_remedy_is_named() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("nobody.sock");
    let socket = socket.to_str().context("a path that is no text")?;
    for command in [&["status"][..], &["member", "list"], &["stats"], &["drops"], &["flow", "count"]] {
        let answer = run_lbctl(&[&["--socket", socket], command].concat())?;
        ensure!(code(&answer) == 3, "{command:?}: {answer:?}");
        ensure!(answer.stderr.contains(socket), "{command:?} does not name the socket: {}", answer.stderr);
        ensure!(answer.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn offline_without_a_data_path_says_where_it_looked() -> Result<()> {
    let answer = run_lbctl(&["--offline", "--pin-path", "/sys/fs/bpf/krater-nobody", "status"])?;
    ensure!([1, 3].contains(&code(&answer)), "{answer:?}");
    ensure!(answer.stderr.contains("/sys/fs/bpf/krater-nobody"), "{}", answer.stderr);
    Ok(())
}
