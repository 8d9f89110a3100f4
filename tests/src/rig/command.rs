//! Runs another program to its end and says what went wrong with it.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Runs a program and returns what it wrote to its standard output.
///
/// # Errors
/// When it cannot be started or fails; the message holds the whole command
/// line and what the program said.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    run_with_input(program, arguments, "")
}

/// Like [`run`], with text for its standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with_input(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let shown = format!("{program} {}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{shown}`; is {program} installed?"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early shows it by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("wait for `{shown}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}`: {}: {}{}", output.status, said.trim(), shown_input(input));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown_input(input: &str) -> String {
    if input.is_empty() { String::new() } else { format!("\nits input was:\n{input}") }
}
