//! A sidecar between a raw caller and a raw upstream.

use crate::harness::Sidecar;
use crate::raw::{Message, OK, Peer, Upstream};

pub(crate) struct Between {
    pub(crate) sidecar: Sidecar,
    pub(crate) upstream: Upstream,
}

impl Between {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// `settings` are configuration keys and their values. There is one worker, so that callers share its connections to
    /// the upstream.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let upstream = Upstream::start().await;
        let one_worker = [("proxy.worker_threads", "1")];
        let settings = [&one_worker, settings].concat();
        let sidecar = Sidecar::before(&format!("http://{}", upstream.address), &settings).await;
        Self { sidecar, upstream }
    }

    pub(crate) async fn caller(&self) -> Peer {
        Peer::connect(self.sidecar.proxy).await
    }

    /// A caller that has sent these bytes.
    pub(crate) async fn sends(&self, bytes: impl AsRef<[u8]>) -> Peer {
        let mut caller = self.caller().await;
        caller.send(bytes).await;
        caller
    }

    /// What the upstream gets of a request, which it answers with `OK`.
    pub(crate) async fn forwarded(&mut self, request: impl AsRef<[u8]>) -> Message {
        let mut caller = self.sends(request).await;
        let mut upstream = self.upstream.accept().await;
        let message = upstream.message().await;
        upstream.send(OK).await;
        assert!(caller.head().await.start.ends_with(" 200 OK"));
        message
    }

    /// A caller whose `GET` the upstream answers with these bytes, whereupon it closes the connection.
    pub(crate) async fn replied(&mut self, reply: impl AsRef<[u8]>) -> Peer {
        self.answered("GET / HTTP/1.1\r\nHost: a\r\n\r\n", reply).await
    }

    /// A caller whose request the upstream answers with these bytes, whereupon it closes the connection.
    pub(crate) async fn answered(&mut self, request: &str, reply: impl AsRef<[u8]>) -> Peer {
        let caller = self.sends(request).await;
        let mut upstream = self.upstream.accept().await;
        upstream.message().await;
        upstream.send(reply).await;
        caller
    }

    /// Sees to it that nothing is on its way to the upstream: what is sent now arrives next.
    pub(crate) async fn nothing_was_forwarded(&mut self) {
        let message = self.forwarded("GET /marker HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(message.head.start, "GET /marker HTTP/1.1");
    }
}
