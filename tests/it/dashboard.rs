//! The dashboard's page, and what it and other tools ask: overview, live feed, analytics, the journal as a file.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::by_hand::{TOKEN, before};
use crate::harness::{FIVE, Reply, patiently, read};
use crate::program::Sidecar;

const OWN: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                   base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn ask(it: &Sidecar, path: &str, token: Option<&str>) -> Reply {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    it.call(Method::GET, &format!("{}{path}", it.ops), headers, Bytes::new())
        .await
}

async fn told(it: &Sidecar, path: &str) -> Value {
    let reply = ask(it, path, Some(TOKEN)).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    reply.json()
}

fn links(page: &str) -> Vec<&str> {
    let of = |attribute: &'static str| {
        page.split(attribute)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
    };
    of("href=\"")
        .chain(of("src=\""))
        .filter(|link| !link.starts_with('#'))
        .collect()
}

#[tokio::test]
async fn the_page_and_all_of_its_files_come_from_the_program_and_from_nowhere_else() {
    let it = before(&[], &[]).await;
    let page = ask(&it, "/dashboard", None).await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    let links = links(&text);
    assert!(links.len() > 4, "{links:?}");
    let scripts =
        ["api", "charts", "dom", "feed", "panels", "roster"].map(|name| format!("dashboard/{name}.js"));
    for link in links
        .iter()
        .map(|link| (*link).to_owned())
        .chain(scripts)
        .chain(["dashboard".to_owned()])
    {
        let reply = ask(&it, &format!("/{link}"), None).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("content-security-policy")),
            (200, Some(OWN)),
            "{link}"
        );
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{link}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{link}");
    }
    assert_eq!(
        ask(&it, "/dashboard/", None).await.header("location"),
        Some("../dashboard")
    );
    assert_eq!(ask(&it, "/dashboard/none.js", None).await.status, 404);
    // Nobody is let to put words into it, and it says nothing that a reader alone may see.
    assert!(
        !text.contains("PERSONAL") && !text.contains("<style") && !text.contains(" style="),
        "{text}"
    );
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn the_overview_tells_how_a_tenant_stands() {
    let it = before(&FIVE, &[("tenants.default.eviction.protect", "c")]).await;
    assert_eq!(it.register("new").await.admission(), "evicted");
    let mut overview = told(&it, "/api/tenants/default/overview").await;
    for changing in ["uptime_seconds", "replica", "replicas", "journal"] {
        assert!(!overview[changing].take().is_null(), "{changing}");
    }
    overview["budget"]["remaining"].take();
    overview["clock_skew_seconds"].take();
    let expected = json!({
        "tenant": "default", "status": "ok", "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": null,
        "mode": "enforce", "paused": false, "users": 5, "limit": 5, "pending_deletions": 0, "queued": 0,
        "fuse": {"evictions": 60, "window_seconds": 3600, "used": 1, "blown_until": null},
        "budget": {"remaining": null}, "clock_skew_seconds": null,
        "registry": {"home": "memory:", "up": true, "durable": false},
        "replica": null, "replicas": null,
        "policy": {
            "order": ["oldest"], "unknown_age": "oldest", "max_per_registration": 1, "min_age_seconds": 0, "active_within_seconds": 0,
            "protect": ["c"], "evictable": ["*"],
        },
        "problems": [], "journal": null, "may_change": true, "token_configured": true,
    });
    assert_eq!(overview, expected);
    let stranger = ask(&it, "/api/tenants/default/overview", None).await;
    assert_eq!(stranger.status, 401);
    assert_eq!(it.stop().await.code, Some(0));
}

/// Reads a feed, event by event.
struct Feed(reqwest::Response, String);

impl Feed {
    async fn open(it: &Sidecar) -> Self {
        let request = it.http.get(format!("{}/api/events", it.ops)).bearer_auth(TOKEN);
        let response = patiently(request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response, String::new())
    }

    /// The next overview, or `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((event, rest)) = self.1.split_once("\n\n") {
                let data = event.strip_prefix("event: overview\ndata: ");
                let overview = data.map(|data| serde_json::from_str(data).unwrap());
                self.1 = rest.into();
                if overview.is_some() {
                    return overview;
                }
            }
            let chunk = patiently(self.0.chunk()).await.ok()??;
            self.1.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The first that is as wanted.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        patiently(async {
            loop {
                let overview = self.next().await.expect("the feed ended");
                if wanted(&overview) {
                    return overview;
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn the_feed_tells_of_a_registration_and_of_a_pause_and_ends_with_the_program() {
    let it = before(&["a", "b"], &[]).await;
    let mut feed = Feed::open(&it).await;
    let first = feed.until(|overview| overview["users"] == 2).await;
    assert_eq!(first["paused"], false);
    assert_eq!(it.register("c").await.admission(), "forwarded");
    let is_told = |now: &Value| now["users"] == 3 && now["journal"].as_i64() > first["journal"].as_i64();
    feed.until(is_told).await;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let pause = format!("{}/api/tenants/default/pause", it.ops);
    assert_eq!(
        it.call(Method::POST, &pause, headers, Bytes::new()).await.status,
        200
    );
    feed.until(|overview| overview["paused"] == true).await;
    let (ended, code) = tokio::join!(patiently(async { while feed.next().await.is_some() {} }), async {
        it.stop().await.code
    });
    assert_eq!((ended, code), ((), Some(0)));
}

#[tokio::test]
async fn there_are_only_so_many_feeds_and_one_that_is_left_makes_room() {
    let it = before(&[], &[]).await;
    let mut feeds = Vec::new();
    for _ in 0..64 {
        feeds.push(Feed::open(&it).await);
    }
    let refused = ask(&it, "/api/events", Some(TOKEN)).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (503, &"sidecar_too_many_feeds".into())
    );
    assert_eq!(refused.header("retry-after"), Some("10"));
    assert_eq!(ask(&it, "/api/events", None).await.status, 401);
    drop(feeds);
    patiently(async {
        loop {
            let request = it.http.get(format!("{}/api/events", it.ops)).bearer_auth(TOKEN);
            if request.send().await.unwrap().status() == 200 {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn the_analytics_tell_of_regret() {
    let it = before(&FIVE, &[]).await;
    for user in ["new", "a"] {
        assert_eq!(it.register(user).await.admission(), "evicted");
    }
    let mut told = told(&it, "/api/tenants/default/analytics?window=1h").await;
    let buckets = told["buckets"].take();
    let buckets = buckets.as_array().unwrap();
    let sum = |of: &str| {
        buckets
            .iter()
            .map(|bucket| bucket[of].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(
        (
            buckets.len(),
            sum("registrations"),
            sum("evictions"),
            sum("refusals")
        ),
        (48, 2, 2, 0)
    );
    assert_eq!(
        (&told["registrations"], &told["evictions"], &told["is_whole"]),
        (&2.into(), &2.into(), &true.into())
    );
    let regret = &told["regret"];
    assert_eq!(
        (&regret["evicted"], &regret["returned"], &regret["gone"]["count"]),
        (&2.into(), &1.into(), &1.into())
    );
    assert_eq!(told["time_to_slot"]["count"], 2);
    assert_eq!(
        told["lifetime"],
        Value::Null,
        "of those who were there before, it is not known"
    );
    for query in ["window=1y", "window=1h&window=1h", "window="] {
        let reply = ask(
            &it,
            &format!("/api/tenants/default/analytics?{query}"),
            Some(TOKEN),
        )
        .await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (400, &"sidecar_bad_query".into()),
            "{query}"
        );
    }
    assert_eq!(ask(&it, "/api/tenants/default/analytics", None).await.status, 401);
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn the_journal_is_a_file_for_other_tools() {
    let it = before(&FIVE, &[]).await;
    let strange = "=1+1,\"x\"";
    assert_eq!(it.register(strange).await.admission(), "evicted");
    let entries = told(&it, "/api/tenants/default/journal").await;
    let events: Vec<&str> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["registration", "outcome", "intent"], "newest first");
    assert_eq!(
        (&entries[0]["newcomer"], &entries[0]["status"]),
        (&strange.into(), &200.into())
    );
    assert!(
        entries[0]["took_ms"].is_u64() && entries[1]["took_ms"].is_null(),
        "{entries}"
    );
    let csv = ask(&it, "/api/tenants/default/journal?format=csv", Some(TOKEN)).await;
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(
        csv.header("content-disposition"),
        Some("attachment; filename=\"journal.csv\"")
    );
    let text = String::from_utf8(csv.body.to_vec()).unwrap();
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines[0].starts_with("id,at,event,user_id,newcomer,outcome,"),
        "{text}"
    );
    // A spreadsheet takes it for text.
    assert!(
        lines[1].contains(",registration,,\"'=1+1,\"\"x\"\"\",evicted,"),
        "{text}"
    );
    let refused = ask(&it, "/api/tenants/default/journal?format=xml", Some(TOKEN)).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (400, &"sidecar_bad_query".into())
    );
    assert_eq!(ask(&it, "/api/tenants/default/journal", None).await.status, 401);
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn of_many_users_those_that_are_wanted_are_told() {
    let it = before(&["ada", "Adam", "bob", "eve"], &[]).await;
    let seen = |query: &'static str| {
        let it = &it;
        async move {
            let users = told(it, &format!("/api/tenants/default/users{query}")).await;
            let ids = users["users"]
                .as_array()
                .unwrap()
                .iter()
                .map(|user| user["user_id"].as_str().unwrap().to_owned());
            (
                users["count"].as_u64().unwrap(),
                users["matching"].as_u64().unwrap(),
                ids.collect::<Vec<_>>(),
            )
        }
    };
    assert_eq!(
        seen("?limit=2").await,
        (4, 4, vec!["ada".to_owned(), "Adam".to_owned()])
    );
    assert_eq!(
        seen("?search=DA").await,
        (4, 2, vec!["ada".to_owned(), "Adam".to_owned()])
    );
    assert_eq!(
        seen("?search=a%64a&limit=1").await,
        (4, 2, vec!["ada".to_owned()])
    );
    assert_eq!(seen("?search=nobody").await, (4, 0, vec![]));
    for query in [
        "limit=x",
        "limit=-1",
        "limit=4294967296",
        "limit=1&limit=2",
        "search=a&search=b",
        "search=%FF",
    ] {
        let reply = ask(&it, &format!("/api/tenants/default/users?{query}"), Some(TOKEN)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (400, &"sidecar_bad_query".into()),
            "{query}"
        );
    }
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_feed_that_cannot_be_had_says_why() {
    let it = before(&[], &[]).await;
    let request = it
        .http
        .get(format!("{}/api/events?tenant=none", it.ops))
        .bearer_auth(TOKEN);
    let reply = read(patiently(request.send()).await.unwrap()).await;
    assert_eq!(reply.status, 404);
    assert!(
        reply.json()["detail"]
            .as_str()
            .unwrap()
            .contains("The tenants are: default"),
        "{reply:?}"
    );
    assert_eq!(it.stop().await.code, Some(0));
}
