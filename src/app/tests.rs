use std::future::pending;

use tokio::time::timeout;

use super::*;
use crate::config::{self, Sources};

const PATIENCE: Duration = Duration::from_secs(20);

async fn app() -> App {
    let flags = [
        ("proxy.upstream", "http://127.0.0.1:9"),
        ("proxy.listen", "127.0.0.1:0"),
        // Not waited for where there is nothing to finish any more.
        ("proxy.drain_delay", "1h"),
        ("ops.listen", "127.0.0.1:0"),
        ("tenants.default.client_id", "c"),
        ("tenants.default.consumer_key", "k"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sources = Sources {
        flags: flags.into(),
        ..Sources::default()
    };
    App::build(config::load(sources).unwrap().config).await.unwrap()
}

#[tokio::test]
async fn a_worker_that_dies_is_the_end_of_the_process() {
    let mut app = app().await;
    app.listeners = Listeners::unusable();
    let health = Arc::clone(&app.health);
    let ended = timeout(PATIENCE, app.run(pending())).await.unwrap();
    assert_eq!(
        ended.unwrap_err().to_string(),
        "a worker of the proxy ended by itself; please report this with the log"
    );
    assert!(health.draining());
}

#[tokio::test]
async fn a_listener_that_dies_is_the_end_of_the_process() {
    let closing = CancellationToken::new();
    let mut parts = app().await.start(&closing).unwrap();
    parts.ops.as_ref().unwrap().abort();
    let died = timeout(PATIENCE, parts.ended()).await.unwrap();
    assert_eq!(died, "the listener of the ops plane");
    closing.cancel();
    // One that is gone is not waited for.
    timeout(PATIENCE, parts.finish(PATIENCE)).await.unwrap();
}
