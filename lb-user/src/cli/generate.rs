//! What is made from the definitions of the command lines: completions and
//! manual pages.

use std::{fs, io, path::Path};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{arguments::Arguments, failure::Failure, lbd::LbdArguments, output};

/// Writes completions for a shell to standard output.
pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    output::write(&completions_for(shell))
}

fn completions_for(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "lbctl", &mut text);
    text
}

/// Writes every manual page: into a directory, or one after another to
/// standard output.
pub(super) fn man(out: Option<&Path>) -> Result<(), Failure> {
    let pages = pages()?;
    let Some(out) = out else {
        return pages.iter().try_for_each(|page| output::write(&page.text));
    };
    for page in pages {
        let directory = out.join(format!("man{}", page.section));
        let path = directory.join(format!("{}.{}", page.name, page.section));
        fs::create_dir_all(&directory)
            .and_then(|()| fs::write(&path, &page.text))
            .map_err(|source| Failure::File { path, source })?;
    }
    Ok(())
}

/// A manual page.
struct Page {
    /// Its name, such as `lbctl-member-set`.
    name: String,
    /// Its section of the manual.
    section: &'static str,
    /// Its text as roff.
    text: Vec<u8>,
}

/// The pages of lbctl, all its commands, and lbd.
fn pages() -> io::Result<Vec<Page>> {
    let mut pages = Vec::new();
    for (command, section) in [(Arguments::command(), "1"), (LbdArguments::command(), "8")] {
        let mut command = command.disable_help_subcommand(true);
        command.build();
        render(&command, section, &mut pages)?;
    }
    Ok(pages)
}

fn render(command: &Command, section: &'static str, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut text = Vec::new();
    let version = concat!("Krater ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).section(section).source(version).manual("Krater").render(&mut text)?;
    pages.push(Page { name, section, text });
    command.get_subcommands().try_for_each(|verb| render(verb, section, pages))
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
