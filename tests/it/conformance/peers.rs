//! The proxies that are compared, each before a recorder of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};

use super::caller::{exchange, told};
use super::recorder::Recorder;
use super::row::Row;
use crate::harness::{Sidecar, patiently};

/// Sent on a connection of its own after each row, so that whatever the row sent on has arrived before it.
const SYNC: &[u8] = b"GET /sync HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Long enough for a busy machine, and waited for by the few rows that are not whole.
const PATIENCE_SECS: u64 = 2;

/// As in the manual of each: nothing but forwarding, and a limit on how long half a request is waited for. Replies are not
/// buffered, so that what comes of one that breaks off does not depend on how fast it does.
const NGINX: &str = "
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events { worker_connections 256; }
http {
  access_log off; client_header_timeout {patience}s; client_body_timeout {patience}s; keepalive_timeout {patience}s;
  lingering_timeout 1s; proxy_next_upstream off; proxy_read_timeout {patience}s; proxy_send_timeout {patience}s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream u { server {upstream}; keepalive 8; }
  server {
    listen unix:{folder}/socket;
    location / { proxy_pass http://u; proxy_http_version 1.1; proxy_buffering off; proxy_set_header Connection \"\"; }
  }
}
";

const HAPROXY: &str = "
global
  nbthread 1
  maxconn 256
defaults
  mode http
  timeout connect 5s
  timeout client {patience}s
  timeout server 10s
  timeout tunnel {patience}s
  timeout http-request {patience}s
  timeout http-keep-alive {patience}s
frontend in
  bind unix@{folder}/socket
  default_backend out
backend out
  http-reuse always
  server s {upstream}
";

/// What became of a row.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) upstream: String,
    pub(super) caller: String,
}

pub(super) struct Proxy {
    recorder: Recorder,
    running: Running,
}

enum Running {
    Sidecar(Sidecar),
    /// A process behind a Unix socket, so that no port has to be chosen. It ends with this.
    Peer {
        socket: PathBuf,
        _parts: (Child, TempDir),
    },
}

impl Proxy {
    pub(super) async fn sidecar() -> Self {
        let recorder = Recorder::start().await;
        let patience = format!("{PATIENCE_SECS}s");
        let settings = [
            ("proxy.worker_threads", "1"),
            ("proxy.header_timeout", patience.as_str()),
            ("proxy.body_idle_timeout", patience.as_str()),
        ];
        let sidecar = Sidecar::before(&format!("http://{}", recorder.address), &settings).await;
        Self {
            recorder,
            running: Running::Sidecar(sidecar),
        }
    }

    pub(super) async fn nginx() -> Self {
        Self::peer("nginx", NGINX, |folder, config| {
            let mut command = Command::new(program("nginx"));
            command.arg("-p").arg(folder).arg("-c").arg(config);
            command
        })
        .await
    }

    pub(super) async fn haproxy() -> Self {
        Self::peer("haproxy", HAPROXY, |_, config| {
            let mut command = Command::new(program("haproxy"));
            command.arg("-db").arg("-f").arg(config);
            command
        })
        .await
    }

    async fn peer(name: &str, config: &str, command: impl FnOnce(&Path, &Path) -> Command) -> Self {
        let recorder = Recorder::start().await;
        let folder = tempfile::tempdir().unwrap();
        let config = config
            .replace("{folder}", folder.path().to_str().unwrap())
            .replace("{patience}", &PATIENCE_SECS.to_string())
            .replace("{upstream}", &recorder.address.to_string());
        let file = folder.path().join("config");
        std::fs::write(&file, config).unwrap();
        let socket = folder.path().join("socket");
        let mut child = command(folder.path(), &file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} is missing ({error}): install Debian's package {name}"));
        let mut looking = tokio::time::interval(Duration::from_millis(10));
        patiently(async {
            while UnixStream::connect(&socket).await.is_err() {
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "{name} does not start: {ended:?}");
                looking.tick().await;
            }
        })
        .await;
        Self {
            recorder,
            running: Running::Peer {
                socket,
                _parts: (child, folder),
            },
        }
    }

    pub(super) async fn outcome(&self, row: &Row) -> Outcome {
        self.recorder.begin(row);
        let got = self.exchange(&row.sent()).await;
        self.exchange(SYNC).await;
        Outcome {
            upstream: self.recorder.seen().await,
            caller: told(&got, row),
        }
    }

    async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let heard = || self.recorder.heard();
        match &self.running {
            Running::Sidecar(sidecar) => {
                let stream = patiently(TcpStream::connect(sidecar.proxy)).await.unwrap();
                exchange(stream, bytes, heard).await
            }
            Running::Peer { socket, .. } => {
                let stream = patiently(UnixStream::connect(socket)).await.unwrap();
                exchange(stream, bytes, heard).await
            }
        }
    }
}

/// Where Debian has it, which is in few users' `PATH`.
fn program(name: &str) -> PathBuf {
    let place = PathBuf::from("/usr/sbin").join(name);
    if place.exists() {
        place
    } else {
        PathBuf::from(name)
    }
}

/// `nginx 1.26.3`.
pub(super) async fn versions() -> String {
    let mut versions = Vec::new();
    for name in ["nginx", "haproxy"] {
        let output = Command::new(program(name)).arg("-v").output().await;
        let output =
            output.unwrap_or_else(|error| panic!("{name}: {error}; install Debian's package {name}"));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let number = text
            .split([' ', '/', '-', '\n'])
            .find(|word| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok()));
        versions.push(format!("{name} {}", number.unwrap_or("of unknown version")));
    }
    versions.join(" and ")
}
