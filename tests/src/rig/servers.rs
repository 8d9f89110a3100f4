//! A member: a namespace with a real web server and a UDP server in it.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    addresses::{ECHO_PORT, HTTP_PORT, UDP_PORT},
    binaries, http,
    netns::NetNs,
    process::Process,
    record::Recorder,
    udp, wait,
};

/// Path of the large file every member has.
pub const BULK_PATH: &str = "/bulk";
/// Its length in bytes.
pub const BULK_BYTES: usize = 1 << 20;

/// A member with its servers, running or not.
#[derive(Debug)]
pub struct Member {
    http: Option<Process>,
    udp: Option<Process>,
    echo: Option<Process>,
    namespace: NetNs,
    name: String,
    addresses: [IpAddr; 2],
    directory: PathBuf,
    recorder: Recorder,
}

impl Member {
    /// A member that serves nothing yet; its files go below `directory`.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn new(
        recorder: &Recorder,
        namespace: NetNs,
        name: &str,
        addresses: [IpAddr; 2],
        directory: &Path,
    ) -> Result<Self> {
        let directory = directory.join(name);
        let content = directory.join("html");
        fs::create_dir_all(&content).with_context(|| format!("create {}", content.display()))?;
        fs::write(content.join("index.html"), format!("{name}\n")).context("write a page")?;
        fs::write(content.join(&BULK_PATH[1..]), bulk()).context("write a large file")?;
        fs::write(directory.join("nginx.conf"), nginx_configuration(&directory, name)).context("write nginx.conf")?;
        Ok(Self {
            http: None,
            udp: None,
            echo: None,
            namespace,
            name: name.to_owned(),
            addresses,
            directory,
            recorder: recorder.clone(),
        })
    }

    /// Its name, which its servers tell.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 and its IPv6 address.
    #[must_use]
    pub const fn addresses(&self) -> [IpAddr; 2] {
        self.addresses
    }

    /// Its namespace.
    #[must_use]
    pub const fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// What was stored at a path below `/upload/`.
    ///
    /// # Errors
    /// When nothing was.
    pub fn uploaded(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.directory.join("html").join(path.trim_start_matches('/'));
        fs::read(&file).with_context(|| format!("read {}", file.display()))
    }

    /// Starts both servers.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_servers(&mut self) -> Result<()> {
        let prefix = self.directory.to_string_lossy();
        let http = self.spawn("nginx", Path::new("nginx"), &["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"])?;
        let udp = self.spawn_own("udp", &["serve-udp", "--name", &self.name], UDP_PORT)?;
        (self.http, self.udp) = (Some(http), Some(udp));
        Ok(())
    }

    /// Starts a third one, which echoes TCP and holds very many connections.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_echo(&mut self) -> Result<()> {
        self.echo = Some(self.spawn_own("echo", &["serve-echo"], ECHO_PORT)?);
        Ok(())
    }

    /// Starts a server of the rig's own program at both addresses.
    fn spawn_own(&self, what: &str, arguments: &[&str], port: u16) -> Result<Process> {
        let [v4, v6] = self.addresses.map(|address| SocketAddr::new(address, port).to_string());
        let bind = ["--bind", &v4, "--bind", &v6];
        self.spawn(what, &binaries::find("krater-rig")?, &[arguments, &bind].concat())
    }

    fn spawn(&self, what: &str, program: &Path, arguments: &[&str]) -> Result<Process> {
        let log = self.directory.join(format!("{what}.log"));
        let name = format!("{}'s {what}", self.name);
        Process::spawn(&self.recorder, self.namespace.name(), &name, program, arguments, &log)
    }

    /// Kills its servers, as a crash would.
    pub fn kill_servers(&mut self) {
        self.http = None;
        self.udp = None;
        self.echo = None;
    }

    /// Waits until both servers answer, over both families, asked from the
    /// member itself.
    ///
    /// # Errors
    /// When they do not within `limit`; the message ends with their logs.
    pub fn wait_serving(&mut self, limit: Duration) -> Result<()> {
        let (name, addresses, echoes) = (self.name.clone(), self.addresses, self.echo.is_some());
        let what = format!("the servers of {name} to answer");
        let asked = self.namespace.enter(|| {
            wait::until_true(&what, limit, || {
                for address in addresses {
                    let response = http::get(SocketAddr::new(address, HTTP_PORT), "/", http::Source::default())
                        .with_context(|| format!("HTTP at {address}"))?;
                    ensure!(response.member == name, "{} answers at {address}", response.member);
                    udp::ask(SocketAddr::new(address, UDP_PORT), 0, b"ready?")
                        .with_context(|| format!("UDP at {address}"))?;
                    if echoes {
                        http::connect(SocketAddr::new(address, ECHO_PORT), http::Source::default())
                            .with_context(|| format!("the echo at {address}"))?;
                    }
                }
                Ok(true)
            })
        });
        asked.map(drop).with_context(|| {
            [&self.http, &self.udp, &self.echo]
                .into_iter()
                .flatten()
                .map(Process::log_tail)
                .collect::<Vec<_>>()
                .join("\n")
        })
    }
}

/// The content of the large file: the same on every member and every run.
#[must_use]
pub fn bulk() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(BULK_BYTES);
    while bytes.len() < BULK_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn nginx_configuration(directory: &Path, name: &str) -> String {
    let directory = directory.display();
    // At every address: a member may hold a VIP beside its own.
    let listen =
        format!("    listen {HTTP_PORT} backlog=1024;\n    listen [::]:{HTTP_PORT} ipv6only=on backlog=1024;\n");
    let mut scratch = String::new();
    for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(scratch, "  {what}_temp_path {directory}/scratch-{what};");
    }
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {directory}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  default_type text/plain;\n  etag off;\n  keepalive_requests 1000000;\n{scratch}  \
         server {{\n{listen}    root {directory}/html;\n    add_header X-Member {name} always;\n    \
         location = /client {{ return 200 $remote_addr; }}\n    \
         location /upload/ {{ dav_methods PUT; create_full_put_path on; client_max_body_size 64m; }}\n  }}\n}}\n"
    )
}
