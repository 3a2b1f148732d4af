//! What is written down of a run, and the network that can be cut.

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Without what differs from run to run.
    fn read(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let parsed = |line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            assert!(line.as_object_mut().unwrap().remove("at_ms").unwrap().is_i64());
            line
        };
        text.lines().map(parsed).collect()
    }
}

#[tokio::test]
async fn the_record_tells_what_arrived_what_struck_it_and_what_it_did() {
    let sim = started(Options::default()).await;
    let lines = Lines::default();
    sim.record_to(lines.clone());
    sim.add_user("theirs");
    sim.inject(Fault::new(FaultCall::Register, FaultKind::ResetAfter));
    let mut labelled = registration(&sim, "new");
    labelled
        .headers_mut()
        .insert("x-simulator-label", "call-7".parse().unwrap());
    assert!(send(labelled).await.is_none());
    sim.remove_user("theirs");

    let secret = sim.secret_of("new").unwrap();
    let told_apart = arrived::hex(&<sha2::Sha256 as sha2::Digest>::digest(secret));
    assert_eq!(
        lines.read(),
        [
            json!({"event": "added", "user": "theirs"}),
            json!({"event": "call", "number": 0, "call": "register", "client": "SIMULATOR", "user": "new",
                   "label": "call-7", "fault": "reset_after"}),
            json!({"event": "done", "number": 0, "status": 200, "live": ["theirs", "new"], "secret_sha256": told_apart}),
            json!({"event": "removed", "user": "theirs"}),
        ]
    );
}

#[tokio::test]
async fn a_network_that_was_cut_comes_back_at_the_same_address() {
    let sim = started(Options::default()).await;
    assert_eq!(register(&sim, "a").await.status, 200);
    let mut open = TcpStream::connect(sim.addr()).await.unwrap();
    let cut = |body| unsigned(&sim, Method::POST, "/_simulator/cut", body);
    assert_eq!(send(cut(r#"{"ms":1}"#)).await.unwrap().status, 400);
    assert_eq!(send(cut(r#"{"for_ms":1}"#)).await.unwrap().status, 200);
    // Its end is that of every connection.
    assert!(!open.read(&mut [0]).await.is_ok_and(|read| read > 0));
    while TcpStream::connect(sim.addr()).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(register(&sim, "b").await.status, 200);
}

#[tokio::test]
async fn a_webhook_names_the_client_id_whose_user_it_is_about() {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let sim = started(Options {
        tenants: 2,
        webhook_url: format!("http://{}/", receiver.local_addr().unwrap()),
        ..Options::default()
    })
    .await;
    let query = format!(
        "clientId=SIMULATOR-2&timestamp={}",
        jiff::Timestamp::now().as_second()
    );
    let body = r#"{"userId":"a"}"#;
    let signature = sign(KEY, Dialect::PYTHON, REGISTER, &query, body.as_bytes()).unwrap();
    let mut request = unsigned(&sim, Method::POST, &format!("{REGISTER}?{query}"), body);
    request
        .headers_mut()
        .insert("signature", signature.parse().unwrap());
    assert_eq!(send(request).await.unwrap().status, 200);
    let (mut sender, _) = receiver.accept().await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        assert_ne!(sender.read_buf(&mut text).await.unwrap(), 0);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(r#""clientId":"SIMULATOR-2""#), "{text}");
}
