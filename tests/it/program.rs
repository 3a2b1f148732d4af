//! Runs the program as a process, in an environment that holds only what the test gives it.

use std::process::Stdio;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use snaptrade_sidecar::simulator::{Options, Simulator};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::{ANY_PORT, CLIENT_ID, CONSUMER_KEY, PATIENCE, Registration, Reply, client, read};

/// The variables that are a complete configuration.
pub(crate) const TWO_VARIABLES: [(&str, &str); 2] = [
    ("SNAPTRADE_CLIENT_ID", CLIENT_ID),
    ("SNAPTRADE_CONSUMER_KEY", CONSUMER_KEY),
];

pub(crate) fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    command_of(env!("CARGO_BIN_EXE_snaptrade-sidecar"), arguments, environment)
}

fn command_of(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    configured(command, environment)
}

fn configured(mut command: Command, environment: &[(&str, &str)]) -> Command {
    command
        .env_clear()
        // Where it tells what of it was executed, if it was built to.
        .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    Program::start(arguments, environment).end().await
}

pub(crate) struct Program {
    child: Child,
    out: Output,
    err: Output,
}

/// A program that has ended, and all it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// The lines of the log with this message.
    pub(crate) fn logged(&self, message: &str) -> Vec<Value> {
        let lines = self.err.lines().filter_map(parsed);
        lines.filter(|line| line["message"] == message).collect()
    }
}

fn parsed(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}

impl Program {
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::run(command(arguments, environment))
    }

    /// Of a program that becomes the sidecar.
    pub(crate) fn of(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::run(command_of(program, arguments, environment))
    }

    fn run(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        Self {
            out: Output::of(child.stdout.take().unwrap()),
            err: Output::of(child.stderr.take().unwrap()),
            child,
        }
    }

    /// The first line of the log with this message, once it is there.
    pub(crate) async fn logged(&mut self, message: &str) -> Value {
        let found = |line: &str| parsed(line).filter(|line| line["message"] == message);
        self.err.line(message, found).await
    }

    /// The lines of the log with this message, once there are so many.
    pub(crate) async fn logged_times(&mut self, message: &str, times: usize) -> Vec<Value> {
        let is_one = |line: &&str| parsed(line).is_some_and(|line| line["message"] == message);
        let lines = |text: &str| text.lines().filter(is_one).map(str::to_owned).collect::<Vec<_>>();
        let there = |text: &String| lines(text).len() >= times;
        let waited = timeout(PATIENCE, self.err.text.wait_for(there)).await;
        let came = matches!(waited, Ok(Ok(_)));
        drop(waited);
        let said = self.err.text.borrow().clone();
        assert!(came, "not {times} times {message:?} in:\n{said}");
        lines(&said).iter().filter_map(|line| parsed(line)).collect()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("the program has ended already")
    }

    /// The first line of the output that holds these words, once it is there.
    pub(crate) async fn said(&mut self, words: &str) -> String {
        let found = |line: &str| line.contains(words).then(|| line.to_owned());
        self.out.line(words, found).await
    }

    /// `TERM`, `INT`, …; to this process alone.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.id();
        // A shell has `kill` built in; the program of that name is not everywhere.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {id}")])
            .status();
        assert!(sent.await.unwrap().success());
    }

    pub(crate) async fn end(mut self) -> Ended {
        let status = timeout(PATIENCE, self.child.wait()).await;
        Ended {
            code: status.expect("the program does not end").unwrap().code(),
            out: self.out.whole().await,
            err: self.err.whole().await,
        }
    }
}

/// What comes out of a pipe, read as it comes.
struct Output {
    text: watch::Receiver<String>,
    reader: JoinHandle<()>,
}

impl Output {
    fn of(pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, text) = watch::channel(String::new());
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(pipe).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                sender.send_modify(|text| {
                    text.push_str(&line);
                    text.push('\n');
                });
            }
        });
        Self { text, reader }
    }

    async fn line<T>(&mut self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let there = |text: &String| text.lines().any(|line| found(line).is_some());
        let waited = timeout(PATIENCE, self.text.wait_for(there)).await;
        let came = matches!(waited, Ok(Ok(_)));
        drop(waited);
        let said = self.text.borrow().clone();
        assert!(came, "no {what:?} in:\n{said}");
        said.lines().find_map(found).unwrap()
    }

    async fn whole(self) -> String {
        timeout(PATIENCE, self.reader).await.unwrap().unwrap();
        self.text.borrow().clone()
    }
}

/// The sidecar as a process, before a simulated `SnapTrade`.
pub(crate) struct Sidecar {
    pub(crate) sim: Simulator,
    pub(crate) program: Program,
    pub(crate) http: reqwest::Client,
    /// `http://127.0.0.1:…`
    pub(crate) proxy: String,
    pub(crate) ops: String,
}

pub(crate) async fn simulator(options: Options) -> Simulator {
    let any = ANY_PORT.parse().unwrap();
    Simulator::start(options, any).await.unwrap()
}

/// A sidecar before `sim` that remembers in `registry`, and what it said when it was ready. `more` are variables.
pub(crate) async fn remembering(sim: &Simulator, registry: &str, more: &[(&str, &str)]) -> (Program, Value) {
    let upstream = sim.url();
    let variables = [
        &TWO_VARIABLES[..],
        &[("SNAPTRADE_SIDECAR__REGISTRY__URL", registry)],
        more,
    ]
    .concat();
    let arguments = [
        "--listen",
        ANY_PORT,
        "--ops-listen",
        ANY_PORT,
        "--upstream",
        &upstream,
    ];
    let mut program = Program::start(&arguments, &variables);
    let ready = program.logged("snaptrade-sidecar is ready").await;
    (program, ready)
}

impl Sidecar {
    /// Which may have so many files open.
    pub(crate) async fn start_with_files(sim: Simulator, files: u32) -> Self {
        let url = sim.url();
        let program = env!("CARGO_BIN_EXE_snaptrade-sidecar");
        let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &script,
            program,
            "--listen",
            ANY_PORT,
            "--ops-listen",
            ANY_PORT,
        ]);
        shell.args(["--upstream", &url]);
        Self::ready(sim, Program::run(configured(shell, &TWO_VARIABLES))).await
    }

    /// `settings` are configuration keys and their values.
    pub(crate) async fn start(sim: Simulator, settings: &[(&str, &str)]) -> Self {
        let url = sim.url();
        let settings: Vec<String> = settings
            .iter()
            .map(|(key, value)| format!("--set={key}={value}"))
            .collect();
        let mut arguments = vec!["--listen", ANY_PORT, "--ops-listen", ANY_PORT, "--upstream", &url];
        arguments.extend(settings.iter().map(String::as_str));
        Self::ready(sim, Program::start(&arguments, &TWO_VARIABLES)).await
    }

    async fn ready(sim: Simulator, mut program: Program) -> Self {
        let ready = program.logged("snaptrade-sidecar is ready").await;
        let text = |field: &str| ready[field].as_str().unwrap().to_owned();
        Self {
            sim,
            http: client(),
            proxy: text("proxy"),
            ops: text("ops"),
            program,
        }
    }

    pub(crate) async fn send(&self, registration: &Registration) -> Reply {
        let (target, signature) = registration.signed();
        let mut headers = registration.headers.clone();
        if let Some(signature) = signature {
            headers.insert("signature", signature.parse().unwrap());
        }
        let url = format!("{}{target}", self.proxy);
        self.call(Method::POST, &url, headers, registration.body.clone())
            .await
    }

    pub(crate) async fn register(&self, user: &str) -> Reply {
        self.send(&Registration::of(user)).await
    }

    pub(crate) async fn get(&self, url: &str) -> Reply {
        self.call(Method::GET, url, HeaderMap::new(), Bytes::new()).await
    }

    pub(crate) async fn call(&self, method: Method, url: &str, headers: HeaderMap, body: Bytes) -> Reply {
        let request = self.http.request(method, url).headers(headers).body(body);
        read(timeout(PATIENCE, request.send()).await.unwrap().unwrap()).await
    }

    pub(crate) async fn stop(self) -> Ended {
        self.program.signal("TERM").await;
        self.program.end().await
    }
}
