//! What HTTP/1.1 asks of a proxy (RFC 9110 and RFC 9112), row by row: the bytes of tests/conformance.toml are sent, and
//! what the upstream and the caller got is compared with what the row says. The same bytes are sent to nginx and `HAProxy`;
//! docs/conformance.md lists what they make of them, and is held against the measurement.

mod caller;
mod peers;
mod recorder;
mod row;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use peers::{Outcome, Proxy};
use row::{Row, Table, table};

const PAGE: &str = "docs/conformance.md";
const ROWS_MIN: usize = 80;

impl Row {
    fn expected(&self) -> Outcome {
        Outcome {
            upstream: self.upstream.clone(),
            caller: self.caller.clone(),
        }
    }
}

fn rows(table: &Table) -> impl Iterator<Item = &Row> {
    table.group.iter().flat_map(|group| &group.row)
}

async fn outcomes(proxy: &Proxy, table: &Table) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for row in rows(table) {
        outcomes.push(proxy.outcome(row).await);
    }
    outcomes
}

#[tokio::test]
async fn every_row_comes_out_as_it_says() {
    let table = table();
    let ids: HashSet<&str> = rows(&table).map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), rows(&table).count(), "an id is there twice");
    assert!(ids.len() >= ROWS_MIN);
    let sidecar = Proxy::sidecar().await;
    let mut wrong = String::new();
    for (row, got) in rows(&table).zip(outcomes(&sidecar, &table).await) {
        if got != row.expected() {
            let Row {
                id, section, rule, ..
            } = row;
            let (upstream, caller) = (&row.upstream, &row.caller);
            let _ = write!(
                wrong,
                "{id} ({section}): {rule}\n  upstream: {}\n  not:      {upstream}\n  caller:   {}\n  not:      {caller}\n",
                got.upstream, got.caller
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test]
async fn the_page_says_what_nginx_and_haproxy_make_of_the_same_bytes() {
    let table = table();
    let (nginx, haproxy) = tokio::join!(Proxy::nginx(), Proxy::haproxy());
    let (nginx, haproxy) = tokio::join!(outcomes(&nginx, &table), outcomes(&haproxy, &table));
    let mut unexplained = Vec::new();
    for (row, (nginx, haproxy)) in rows(&table).zip(nginx.iter().zip(&haproxy)) {
        let differs = *nginx != row.expected() || *haproxy != row.expected();
        if differs == row.why.is_empty() {
            unexplained.push(&*row.id);
        }
    }
    let page = page(&table, &nginx, &haproxy, &peers::versions().await);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("WRITE").is_some() {
        std::fs::write(&path, page).unwrap();
    } else {
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        // Another version that does the same is as good.
        let lines = |page: &str| -> Vec<String> {
            let lines = page.lines().filter(|line| !line.starts_with(COMPARED));
            lines.map(str::to_owned).collect()
        };
        let (now, then) = (lines(&page), lines(&written));
        let differing = now.iter().zip(&then).find(|(now, then)| now != then);
        let versions = peers::versions().await;
        assert!(
            now == then,
            "{PAGE} is not what is measured, with {versions}; run this test with WRITE=1 and look at what changed. First: \
             {differing:?}"
        );
    }
    assert!(
        unexplained.is_empty(),
        "in tests/conformance.toml, say `why` where nginx or HAProxy differs, and only there: {unexplained:?}"
    );
}

/// Begins the line that names the versions.
const COMPARED: &str = "Compared with";

const PREAMBLE: &str = "\
# Conformance

What the sidecar makes of HTTP/1.1 messages, right and wrong, beside nginx and HAProxy: the same bytes were sent to all three, as
plain reverse proxies before the same upstream, which notes what it gets. The RFCs are 9110 (semantics) and 9112 (HTTP/1.1).
A test holds this page against what is measured; it is written by

```sh,no-run,long
WRITE=1 cargo test --locked --test it conformance::the_page
```

from [tests/conformance.toml](../tests/conformance.toml), where the rows, their bytes and the explanations are. Each row's bytes
are followed by `GET /end` on the same connection, which the upstream gets, and answers, as `end` if whoever stands before it has
understood where the row's message ended. Several requests or replies are joined by `+`, long runs shortened (`{x*300}` is 300
times `x`); nothing means that nothing was sent on. Of a reply that the row is not about, only its status is shown, and what a
proxy adds of its own (`Date`, `Server`, `Connection`) is left out.

Where both others refuse a request and the sidecar sends it on, that is because there is nothing in it that can be read in two
ways: what it sends on is written anew by its own HTTP library, one way, with the upstream's `Host`, one length or chunks of its
own, and no field of the caller's connection.
";

fn page(table: &Table, nginx: &[Outcome], haproxy: &[Outcome], versions: &str) -> String {
    let mut page = format!("{PREAMBLE}\n{COMPARED} {versions}.\n");
    let mut peers = nginx.iter().zip(haproxy);
    for group in &table.group {
        let _ = writeln!(page, "\n## {}\n", group.title);
        page += "| row | RFC | what is asked or tried | the upstream gets | the caller gets |\n|---|---|---|---|---|\n";
        let mut differences = String::new();
        for (row, (nginx, haproxy)) in group.row.iter().zip(&mut peers) {
            let expected = row.expected();
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                row.id,
                row.section,
                row.rule,
                code(&expected.upstream),
                code(&expected.caller)
            );
            let told: Vec<String> = [("nginx", nginx), ("HAProxy", haproxy)]
                .into_iter()
                .filter(|(_, outcome)| **outcome != expected)
                .map(|(name, outcome)| {
                    let (upstream, caller) = (code(&outcome.upstream), code(&outcome.caller));
                    format!("{name}: {upstream}, caller {caller}")
                })
                .collect();
            if !told.is_empty() {
                let _ = writeln!(differences, "| {} | {} | {} |", row.id, told.join("; "), row.why);
            }
        }
        if !differences.is_empty() {
            let _ = write!(
                page,
                "\nWhere the others differ:\n\n| row | what they do | why, and why we do not |\n|---|---|---|\n{differences}"
            );
        }
    }
    page
}

/// As code in a cell of a table.
fn code(text: &str) -> String {
    if text.is_empty() {
        return "nothing".to_owned();
    }
    let text = text.replace('|', "\\|");
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}
