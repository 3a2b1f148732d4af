//! A running sidecar, as its operator asks it: where it is, with which token, for which tenant.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::table::{ascii_json, sentence, shown};
use super::trust::Trust;
use super::{Failure, Settings, say, talk};
use crate::config::OPS_URL;
use crate::snaptrade::query;
use crate::types::Token;

/// For an answer; a look at the users at SnapTrade may be part of it.
const TIMEOUT: Duration = Duration::from_secs(90);

/// For a deletion, which may take the tenant's `admission_timeout` and `settle_timeout`. It goes on without its caller.
pub(super) const DELETION_TIMEOUT: Duration = Duration::from_mins(15);

/// More than a million users.
const BODY_BYTES_MAX: usize = 1 << 30;

const TOKEN_VARIABLE: &str = "SNAPTRADE_SIDECAR__OPS__TOKEN";

/// Which sidecar. The token cannot be given on the command line, which every user of the machine can read.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The tenant; not needed where there is only one, or one called default
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Print the sidecar's answer: JSON, with what is not ASCII escaped
    #[arg(long)]
    json: bool,
    /// Ask this sidecar instead of the one that the configuration describes, such as http://127.0.0.1:9090
    #[arg(long, value_name = "URL", env = OPS_URL, value_parser = talk::base)]
    url: Option<String>,
    /// PEM file of a CA to trust where the sidecar speaks TLS; the certificate that the configuration names is trusted anyway
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File that holds the token, instead of ops.token or ops.token_file in the configuration
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// Configuration file in TOML (or SNAPTRADE_SIDECAR_CONFIG), for ops.listen and the token
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read further environment variables from a .env file; those that are really set win
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

pub(super) struct Running {
    base: String,
    trust: Trust,
    token: Option<Token>,
    json: bool,
    tenant: Option<String>,
}

/// What the sidecar says when it does not do what it was asked.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

/// Of the summary, what is needed to choose a tenant.
#[derive(Deserialize)]
struct Summary {
    tenants: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Target {
    pub(super) fn running(self) -> Result<Running, Failure> {
        // Empty, the token itself does not stand beside the file.
        let instead = self
            .token_file
            .map(|file| [("ops.token", String::new()), ("ops.token_file", file)]);
        let settings = Settings {
            config: self.config,
            env_file: self.env_file,
            set: Vec::new(),
            listen: None,
            ops_listen: None,
            upstream: None,
        };
        let ops = settings.ops(instead.into_iter().flatten())?;
        let own = settings.ops_certificates();
        // Asked elsewhere, a sidecar need not be configured here.
        let own = if self.url.is_some() {
            own.unwrap_or_default()
        } else {
            own?
        };
        Ok(Running {
            base: self
                .url
                .unwrap_or_else(|| talk::base_of(ops.listen, !own.is_empty())),
            trust: Trust::new(self.ca.as_deref(), own)?,
            token: ops.token,
            json: self.json,
            tenant: self.tenant,
        })
    }
}

impl Running {
    /// The tenant that was named, if one was.
    pub(super) fn named(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The tenant that is meant: the one that was named, or the sidecar's only one, or its `default`.
    pub(super) async fn tenant(&self) -> Result<String, Failure> {
        if let Some(name) = &self.tenant {
            return Ok(name.clone());
        }
        let summary = self.ask(Method::GET, "/", TIMEOUT).await?;
        let Summary { tenants } = self.read("/", &summary)?;
        let mut names: Vec<String> = tenants.into_iter().map(|tenant| tenant.name).collect();
        if let ([_], _) | (_, Some(_)) = (&names[..], names.iter().find(|name| *name == "default")) {
            let place = names.iter().position(|name| name == "default").unwrap_or(0);
            return Ok(names.swap_remove(place));
        }
        let shown: Vec<String> = names.iter().map(|name| shown(name)).collect();
        Err(Failure(format!(
            "there are several tenants; give --tenant NAME, one of: {}",
            shown.join(", ")
        )))
    }

    /// Asks for something and prints it: as it came, or as `text` tells it.
    pub(super) async fn show<T: DeserializeOwned>(
        &self,
        path: &str,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let body = self.ask(Method::GET, path, TIMEOUT).await?;
        self.print(path, &body, text)
    }

    /// Asks for something, to work with it.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let body = self.ask(Method::GET, path, TIMEOUT).await?;
        self.read(path, &body)
    }

    /// Whether JSON is wanted.
    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    /// Has something done and prints what came of it.
    pub(super) async fn act<T: DeserializeOwned>(
        &self,
        path: &str,
        timeout: Duration,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let body = self.ask(Method::POST, path, timeout).await?;
        self.print(path, &body, text)
    }

    fn print<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let answer: T = self.read(path, body)?;
        if self.json {
            say(ascii_json(String::from_utf8_lossy(body).trim_end()))
        } else {
            say(text(&answer).trim_end())
        }
    }

    /// The body of an answer that says yes.
    async fn ask(&self, method: Method, path: &str, timeout: Duration) -> Result<Vec<u8>, Failure> {
        let base = &self.base;
        let url = format!("{base}{path}");
        let asked = talk::ask(
            &self.trust,
            method,
            &url,
            self.token.as_ref(),
            timeout,
            BODY_BYTES_MAX,
        )
        .await;
        let talk::Answer { status, body } = asked.map_err(|error| {
            Failure(format!(
                "no answer from {base}: {error}. Is the sidecar running there? Its address is ops.listen in its \
                 configuration, and the first line of its log says it, as of one that `run` started; give --url where this machine \
                 does not know it"
            ))
        })?;
        if status == 200 {
            return Ok(body);
        }
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(self.failure(status, &problem)),
            Err(_) => Err(self.not_the_sidecar(path, status)),
        }
    }

    fn read<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|_| self.not_the_sidecar(path, 200))
    }

    fn failure(&self, status: u16, problem: &Problem) -> Failure {
        let base = &self.base;
        Failure(match problem.code.as_str() {
            "sidecar_token_missing" => format!(
                "the sidecar at {base} wants its token (401): set {TOKEN_VARIABLE}, or give --token-file FILE"
            ),
            "sidecar_token_wrong" => format!(
                "the sidecar at {base} has another token (401): set {TOKEN_VARIABLE} to the ops.token that it was \
                 started with, or give --token-file FILE"
            ),
            // Of a sidecar that has no such calls yet.
            "sidecar_unknown_path" => format!("the sidecar at {base} is too old for this command ({status})"),
            _ => format!("{} ({status})", sentence(&problem.detail)),
        })
    }

    fn not_the_sidecar(&self, path: &str, status: u16) -> Failure {
        Failure(format!(
            "{}{path} answered {status}, but not as the sidecar does; is it the address of its ops plane?",
            self.base
        ))
    }
}

/// The path of a call about a tenant.
pub(super) fn tenant_path(tenant: &str, call: &str) -> String {
    format!("/api/tenants/{}/{call}", segment(tenant))
}

/// The path of a call about one of its users.
pub(super) fn user_path(tenant: &str, user: &str, call: &str) -> Result<String, Failure> {
    // However they are written, URL libraries take them for "here" and "up".
    if [".", ".."].contains(&user) {
        return Err(Failure(format!(
            "the id {user} cannot be named in a URL; protect it with eviction.protect in the configuration, or delete it \
             with SnapTrade's own deleteUser"
        )));
    }
    Ok(tenant_path(tenant, &format!("users/{}/{call}", segment(user))))
}

fn segment(text: &str) -> String {
    query::encode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Running {
        Running {
            base: "http://127.0.0.1:9090".to_owned(),
            trust: Trust::new(None, Vec::new()).ok().unwrap(),
            token: Some(Token::new("s3cret")),
            json: false,
            tenant: None,
        }
    }

    #[test]
    fn any_id_is_one_segment_of_a_path() {
        for (id, path) in [
            ("ada", "/api/tenants/default/users/ada/evict"),
            (
                "a/b?c#d%2F",
                "/api/tenants/default/users/a%2Fb%3Fc%23d%252F/evict",
            ),
            ("é \u{0}", "/api/tenants/default/users/%C3%A9%20%00/evict"),
            ("...", "/api/tenants/default/users/.../evict"),
        ] {
            let own = user_path("default", id, "evict").ok().unwrap();
            assert_eq!(own, path);
            // What is sent is what was meant.
            let url = reqwest::Url::parse(&format!("http://127.0.0.1{own}")).unwrap();
            assert_eq!(url.path(), path);
        }
        assert!(user_path("default", "..", "evict").is_err());
    }

    #[test]
    fn r13_what_went_wrong_is_told_with_a_remedy_and_without_the_token() {
        for (status, code, told) in [
            (
                401,
                "sidecar_token_missing",
                "set SNAPTRADE_SIDECAR__OPS__TOKEN, or give --token-file FILE",
            ),
            (
                401,
                "sidecar_token_wrong",
                "has another token (401): set SNAPTRADE_SIDECAR__OPS__TOKEN to the",
            ),
            (404, "sidecar_unknown_path", "too old for this command (404)"),
            (409, "sidecar_user_protected", "It is \\u{1b} so. (409)"),
        ] {
            let problem = Problem {
                code: code.to_owned(),
                detail: "It is \u{1b} so.".to_owned(),
            };
            let failure = running().failure(status, &problem).to_string();
            assert!(failure.contains(told) && !failure.contains("s3cret"), "{failure}");
        }
    }
}
