//! `bare IP:PORT`: the data plane with everything else off, so that what the rest costs can be measured.
//!
//! Listeners, connections, hop-by-hop headers and the pool to the upstream; no tenants, classification, metrics or log, no
//! ops plane, no drain. Configured by the environment, as the program is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on has nothing better to do than to end"
)]

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use snaptrade_sidecar::config::{self, Sources};
use snaptrade_sidecar::proxy::headers::strip_hop_by_hop;
use snaptrade_sidecar::proxy::replies::Problem;
use snaptrade_sidecar::server::{Limits, Listeners, Means};
use snaptrade_sidecar::telemetry::metrics::Metrics;
use snaptrade_sidecar::upstream::body::RequestBody;
use snaptrade_sidecar::upstream::forward::Forwarder;
use snaptrade_sidecar::upstream::own::Own;
use snaptrade_sidecar::upstream::tls;
use tokio_util::sync::CancellationToken;

fn main() {
    let listen = std::env::args().nth(1).expect("usage: bare IP:PORT");
    let sources = Sources {
        env: std::env::vars_os().collect(),
        flags: vec![("proxy.listen".to_owned(), listen)],
        ..Sources::default()
    };
    let config = config::load(sources).unwrap().config.proxy;
    let listeners = Listeners::bind(config.listen, config.worker_threads).unwrap();
    let tls = tls::client_config(config.upstream_ca.as_ref()).unwrap();
    let (limits, idle) = (Limits::from(&config), config.body_idle_timeout);
    let handler = move || {
        let forwarder = Forwarder::new(&config, tls.clone(), Own::default(), Counter::default());
        move |request: http::Request<hyper::body::Incoming>| {
            let forwarder = forwarder.clone();
            async move {
                let mut request = request.map(|body| RequestBody::streaming(body, idle));
                strip_hop_by_hop(request.headers_mut());
                match forwarder.send(&mut request, std::time::Instant::now()).await {
                    Ok(mut reply) => {
                        strip_hop_by_hop(reply.headers_mut());
                        reply
                    }
                    Err(error) => Problem::from(&error).reply(),
                }
            }
        }
    };
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    control.block_on(async {
        let means = Means {
            limits,
            open: Arc::default(),
            reached: Metrics::new([]).limits_reached(),
            leaving: CancellationToken::new(),
            stopping: CancellationToken::new(),
        };
        let _workers = listeners.start(means, handler);
        // Until it is killed.
        std::future::pending::<()>().await;
    });
}
