//! The Connection Portal, where a user connects a brokerage: links to it, and a page that stands in for it.

use std::collections::VecDeque;

use http::HeaderValue;
use http::header::CONTENT_SECURITY_POLICY;
use serde::Serialize;
use tokio::time::Instant;

use super::arrived::Arrived;
use super::replies::{Reply, error, json, with_type};
use super::state::{State, named};

/// Below it, in `control`, each page stands under its token.
pub(super) const PAGES: &str = "/portal/";

/// How many links work; of more, the oldest is forgotten.
const LINKS_MAX: usize = 1_000;

const PAGE: &str = include_str!("portal.html");

/// Nothing of the page is anybody's but its style.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

/// A link that was given out, and what its page says.
#[derive(Debug)]
struct Link {
    token: String,
    user: String,
    /// Where the application wants its user back.
    back: String,
}

/// Oldest first.
#[derive(Debug, Default)]
pub(super) struct Links(VecDeque<Link>);

#[derive(Serialize)]
struct Given<'a> {
    #[serde(rename = "redirectURI")]
    redirect_uri: &'a str,
    #[serde(rename = "sessionId")]
    session_id: &'a str,
}

impl State {
    /// A link to the page for a user that exists, at the address by which the stand-in was called.
    pub(super) fn login(&mut self, call: &Arrived, now: Instant) -> Reply {
        let Some(user) = self.proven_user(call, now) else {
            return self.no_such_user();
        };
        let (token, session) = (self.new_uuid(), self.new_uuid());
        let authority = call.parts.uri.authority().map(http::uri::Authority::as_str);
        let host = authority.or_else(|| call.header("host")).unwrap_or("localhost");
        let redirect_uri = format!("http://{host}{}{PAGES}{token}", super::control::ROOT);
        self.links.add(Link {
            token,
            user,
            back: named(call).custom_redirect.unwrap_or_default(),
        });
        let given = Given {
            redirect_uri: &redirect_uri,
            session_id: &session,
        };
        json(200, &given)
    }
}

impl Links {
    fn add(&mut self, link: Link) {
        if self.0.len() == LINKS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(link);
    }

    pub(super) fn page(&self, token: &str) -> Reply {
        let Some(link) = self.0.iter().find(|link| link.token == token) else {
            return error(404, "simulator_unknown_link", "No such link was given out.");
        };
        let is_web = ["http://", "https://"]
            .iter()
            .any(|scheme| link.back.starts_with(scheme));
        let way_back = if is_web {
            format!(r#"<a href="{}">Back to the application</a>"#, escaped(&link.back))
        } else {
            "You can close this page.".to_owned()
        };
        // The way back first: what follows cannot bring in another `{way_back}`, and one that holds `{user}` stays escaped.
        let page = PAGE
            .replace("{way_back}", &way_back)
            .replace("{user}", &escaped(&link.user));
        let mut reply = with_type(200, "text/html; charset=utf-8", page);
        reply.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
        reply
    }
}

/// As text of a page, or in the quotes of an attribute.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(c),
        }
        escaped
    })
}
