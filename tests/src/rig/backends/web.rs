//! A real nginx with many sites, and what it says of who asked.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::certificates::Certificate;
use crate::rig::{http, netns::NetNs, process::Process, record::Recorder, wait};

/// A `server` of nginx.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its port, at each address.
    pub port: u16,
    /// What follows the address in `listen`: `ssl`, `http2`, `default_server`.
    pub listen: &'static str,
    /// What else is in it.
    pub directives: String,
}

impl Site {
    /// A site that answers with what `location` says.
    #[must_use]
    pub fn plain(port: u16, directives: &str) -> Self {
        Self { port, listen: "", directives: directives.to_owned() }
    }

    /// A site over these versions of TLS.
    #[must_use]
    pub fn tls(port: u16, certificate: &Certificate, protocols: &str, directives: &str) -> Self {
        let Certificate { certificate, key } = certificate;
        let (certificate, key) = (certificate.display(), key.display());
        let directives = format!(
            "ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols {protocols}; {directives}"
        );
        Self { port, listen: "ssl", directives }
    }
}

/// A running nginx.
#[derive(Debug)]
pub struct Web {
    process: Process,
    directory: PathBuf,
}

/// What nginx saw of a request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Seen {
    /// At which port.
    pub port: u16,
    /// The request line.
    pub request: String,
    /// The Host header; `-` without one.
    pub host: String,
    /// The server name indication; `-` without one.
    pub sni: String,
    /// What it was answered with.
    pub status: u16,
}

impl Web {
    /// Starts it in a namespace with its files in a directory of its own, and
    /// waits until every site's port is open.
    ///
    /// # Errors
    /// When it does not come up: with its log.
    pub fn start(
        recorder: &Recorder,
        namespace: &NetNs,
        directory: PathBuf,
        addresses: &[IpAddr],
        sites: &[Site],
    ) -> Result<Self> {
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        fs::write(directory.join("nginx.conf"), configuration(&directory, addresses, sites))
            .context("write nginx.conf")?;
        let log = directory.join("nginx.log");
        let prefix = directory.to_string_lossy().into_owned();
        let arguments = ["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"];
        let mut process =
            Process::spawn(recorder, namespace.name(), "a web server", "nginx".as_ref(), &arguments, &log)?;
        let ports: Vec<SocketAddr> =
            addresses.iter().flat_map(|ip| sites.iter().map(|site| SocketAddr::new(*ip, site.port))).collect();
        let opened = namespace.enter(|| {
            wait::until_true("a web server to open its ports", Duration::from_secs(10), || {
                process.check_running()?;
                for port in &ports {
                    http::connect(*port, http::Source::default()).with_context(|| format!("connect to {port}"))?;
                }
                Ok(true)
            })
        });
        opened.with_context(|| process.log_tail())?;
        Ok(Self { process, directory })
    }

    /// Every request it has answered, each kind once.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        let path = self.directory.join("access.log");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let mut seen: Vec<Seen> = text.lines().filter_map(read_line).collect();
        seen.sort();
        seen.dedup();
        Ok(seen)
    }

    /// The end of what it says of itself.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

fn read_line(line: &str) -> Option<Seen> {
    let mut fields = line.split('\t');
    let mut next = || fields.next().map(str::to_owned);
    Some(Seen {
        port: next()?.parse().ok()?,
        status: next()?.parse().ok()?,
        host: next()?,
        sni: next()?,
        request: next()?,
    })
}

fn configuration(directory: &std::path::Path, addresses: &[IpAddr], sites: &[Site]) -> String {
    let directory = directory.display();
    let mut servers = String::new();
    for Site { port, listen, directives } in sites {
        servers += "  server {\n";
        for address in addresses {
            // Writing to a string cannot fail.
            let _ = writeln!(servers, "    listen {} {listen};", SocketAddr::new(*address, *port));
        }
        let _ = writeln!(servers, "    {directives}\n  }}");
    }
    let mut scratch = String::new();
    for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(scratch, "  {what}_temp_path {directory}/scratch-{what};");
    }
    let format = "$server_port\t$status\t$http_host\t$ssl_server_name\t$request";
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {directory}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  log_format probe '{format}';\n  access_log {directory}/access.log probe;\n  \
         default_type text/plain;\n{scratch}{servers}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_read_whatever_the_request_was() {
        let seen = read_line("8081\t404\t-\t-\tGET /a b HTTP/1.0");
        let expected =
            Seen { port: 8081, request: "GET /a b HTTP/1.0".into(), host: "-".into(), sni: "-".into(), status: 404 };
        assert_eq!(seen, Some(expected));
        assert_eq!(read_line("8081\t"), None);
    }
}
