//! R8: any number of replicas that share a registry act as one, whatever happens to one of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use snaptrade_sidecar::simulator::{CallKind, Dialect, Fault, FaultCall, FaultKind, Simulator, sign};
use sqlx::PgConnection;
use tokio::task::JoinHandle;

use crate::harness::{CLIENT_ID, CONSUMER_KEY, FIVE, Registration, Reply, client, options, patiently, read};
use crate::program::{Program, remembering, simulator};
use crate::registry::server::Server;

/// Longer than any test.
const STUCK: FaultKind = FaultKind::DelayAfter(Duration::from_mins(1));

struct Replicas<'s> {
    server: &'s Server,
    database: String,
    sim: Simulator,
    all: Vec<Replica>,
}

struct Replica {
    program: Program,
    /// `http://127.0.0.1:…`
    proxy: String,
    http: reqwest::Client,
}

impl<'s> Replicas<'s> {
    /// Before a key that is full.
    async fn start(server: &'s Server, count: usize) -> Self {
        let database = server.database().await;
        let sim = simulator(options()).await;
        for user in FIVE {
            sim.add_user(user);
        }
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(Replica::start(&sim, &server.url(&database)).await);
        }
        sim.clear_calls();
        Self {
            server,
            database,
            sim,
            all,
        }
    }

    async fn count(&self, what: &str) -> usize {
        let mut session: PgConnection = self.server.session(&self.database).await;
        let select = format!("SELECT count(*) FROM snaptrade_sidecar.journal WHERE {what}");
        let select = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(select));
        usize::try_from(select.fetch_one(&mut session).await.unwrap()).unwrap()
    }

    /// Waits until the registry no longer knows this user.
    async fn forgets(&self, user: &str) {
        let mut session: PgConnection = self.server.session(&self.database).await;
        let select = "SELECT EXISTS (SELECT FROM snaptrade_sidecar.users WHERE id = $1)";
        let forgotten = Box::pin(async {
            while sqlx::query_scalar(select)
                .bind(user)
                .fetch_one(&mut session)
                .await
                .unwrap()
            {}
        });
        patiently(forgotten).await;
    }

    /// No user was deleted that no intent names, never were there too many, and no intent is open.
    async fn are_consistent(&self) {
        assert_eq!(self.count("is_open").await, 0);
        assert!(
            self.sim.most_live() <= FIVE.len(),
            "{} at once",
            self.sim.most_live()
        );
        let intents = self.count("event = 'intent' AND NOT is_undone").await;
        assert!(
            self.sim.deletions() <= intents,
            "{} for {intents}",
            self.sim.deletions()
        );
    }

    async fn stop(self) {
        for replica in self.all {
            replica.program.signal("TERM").await;
            replica.program.end().await;
        }
    }
}

impl Replica {
    async fn start(sim: &Simulator, registry: &str) -> Self {
        let (mut program, ready) = remembering(sim, registry, &[]).await;
        program.logged("SnapTrade answers for this key").await;
        Self {
            program,
            proxy: ready["proxy"].as_str().unwrap().to_owned(),
            http: client(),
        }
    }

    /// Sends a registration; there is no reply if the replica dies.
    fn send(&self, user: &str) -> JoinHandle<Option<Reply>> {
        let registration = Registration::of(user);
        let (target, signature) = registration.signed();
        let request = self
            .http
            .post(format!("{}{target}", self.proxy))
            .headers(registration.headers)
            .header("signature", signature.unwrap())
            .body(registration.body);
        tokio::spawn(async move { Some(read(request.send().await.ok()?).await) })
    }

    async fn delete(&self, user: &str) -> Reply {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let path = "/snapTrade/deleteUser";
        let query = format!("userId={user}&clientId={CLIENT_ID}&timestamp={now}");
        let signature = sign(CONSUMER_KEY, Dialect::PYTHON, path, &query, b"").unwrap();
        let request = self.http.delete(format!("{}{path}?{query}", self.proxy));
        let request = request.header("signature", signature);
        read(patiently(request.send()).await.unwrap()).await
    }

    async fn register(&self, user: &str) -> Reply {
        answered(self.send(user)).await.unwrap()
    }
}

async fn answered(reply: JoinHandle<Option<Reply>>) -> Option<Reply> {
    patiently(reply).await.unwrap()
}

#[tokio::test]
async fn r8_a_burst_over_several_replicas_makes_room_once_for_each() {
    for count in [2, 4] {
        let it = Replicas::start(Server::shared(), count).await;
        let burst: Vec<_> = (0..20)
            .map(|n| it.all[n % count].send(&format!("new-{n}")))
            .collect();
        for reply in burst {
            let reply = answered(reply).await.unwrap();
            assert_eq!(
                (reply.status.as_u16(), reply.admission()),
                (200, "evicted"),
                "{reply:?}"
            );
        }
        assert_eq!(it.sim.deletions(), 20);
        assert_eq!(it.count("event = 'intent'").await, 20);
        assert_eq!(it.count("event = 'outcome' AND outcome = 'evicted'").await, 20);
        it.are_consistent().await;
        it.stop().await;
    }
}

#[tokio::test]
async fn r8_whom_another_replica_deleted_takes_no_room_any_more() {
    let it = Replicas::start(Server::shared(), 2).await;
    assert_eq!(it.all[0].register("x").await.admission(), "evicted");
    for n in 0..5 {
        assert_eq!(it.all[1].register(&format!("y{n}")).await.admission(), "evicted");
    }
    assert!(!it.sim.users().contains(&"x".to_owned()));
    assert_eq!(it.all[0].register("z").await.admission(), "evicted");
    assert_eq!(it.sim.deletions(), 7);
    assert_eq!(it.sim.users().len(), FIVE.len());
    // Registered anew by another, whom this one saw go.
    assert_eq!(it.all[1].register("x").await.admission(), "evicted");
    assert_eq!(it.all[0].register("zz").await.admission(), "evicted");
    it.are_consistent().await;
    it.stop().await;
}

#[tokio::test]
async fn r8_a_reply_that_was_kept_keeps_nobody_from_their_turn() {
    let it = Replicas::start(Server::shared(), 2).await;
    let slow = FaultKind::DelayAfter(Duration::from_millis(500));
    it.sim.inject(Fault::new(FaultCall::Register, slow));
    let gone = it.all[0].send("new");
    patiently(it.sim.wait_for(|sim| sim.count(CallKind::Register) == 1)).await;
    gone.abort();
    assert_eq!(it.all[0].register("new").await.admission(), "evicted; replayed");
    assert_eq!(it.all[1].register("other").await.admission(), "evicted");
    it.stop().await;
}

#[tokio::test]
async fn r12_a_kept_reply_goes_where_another_replica_saw_its_user_go() {
    let it = Replicas::start(Server::shared(), 2).await;
    let slow = FaultKind::DelayAfter(Duration::from_millis(500));
    for is_back in [false, true] {
        let before = it.sim.count(CallKind::Register);
        it.sim.inject(Fault::new(FaultCall::Register, slow.clone()));
        let gone = it.all[0].send("new");
        patiently(it.sim.wait_for(|sim| sim.count(CallKind::Register) > before)).await;
        gone.abort();
        // Behind the one that is on its way.
        assert_eq!(it.all[0].register("other").await.admission(), "evicted");
        assert_eq!(it.all[1].delete("new").await.status, 200);
        it.forgets("new").await;
        if is_back {
            assert_eq!(it.all[1].register("new").await.admission(), "forwarded");
            let reply = it.all[0].register("new").await;
            assert_eq!(reply.admission(), "forwarded; reason=already-listed");
        } else {
            let reply = it.all[0].register("new").await;
            assert_eq!((reply.status.as_u16(), reply.admission()), (200, "forwarded"));
            for user in ["new", "other"] {
                assert_eq!(it.all[0].delete(user).await.status, 200);
            }
            for user in ["x", "y"] {
                it.sim.add_user(user);
            }
            it.forgets("new").await;
        }
    }
    it.stop().await;
}

#[tokio::test]
async fn r8_a_replica_killed_at_any_step_costs_nobody_twice() {
    // The call that it waits for when it dies: the list, the deletion, the list that confirms it, the registration.
    let steps = [
        (FaultCall::List, CallKind::List, 0),
        (FaultCall::Delete, CallKind::Delete, 0),
        (FaultCall::List, CallKind::List, 1),
        (FaultCall::Register, CallKind::Register, 0),
    ];
    for (call, kind, skip) in steps {
        let mut it = Replicas::start(Server::shared(), 2).await;
        it.sim.inject(Fault::new(call, STUCK).skip(skip));
        let lost = it.all[0].send("lost");
        patiently(it.sim.wait_for(|sim| sim.count(kind) > skip as usize)).await;
        let dead = it.all.remove(0);
        dead.program.signal("KILL").await;
        assert!(answered(lost).await.is_none());

        let reply = it.all[0].register("new").await;
        assert_eq!(reply.status, 200, "{call:?} {skip} {reply:?}");
        it.are_consistent().await;
        // One deletion for each who came in, and perhaps one whose room the lost one did not come to take: its slot went
        // to the other then.
        let came = it
            .sim
            .users()
            .iter()
            .filter(|user| !FIVE.contains(&user.as_str()))
            .count();
        assert_eq!(it.sim.deletions(), came, "{call:?} {skip}");
        it.stop().await;
    }
}

#[tokio::test]
async fn r8_a_replica_stopped_past_its_turn_deletes_nobody_on_what_it_knew() {
    let it = Replicas::start(Server::shared(), 2).await;
    it.sim.inject(Fault::new(
        FaultCall::List,
        FaultKind::DelayAfter(Duration::from_millis(500)),
    ));
    let stopped = it.all[0].send("stopped");
    patiently(it.sim.wait_for(|sim| sim.count(CallKind::List) == 1)).await;
    it.all[0].program.signal("STOP").await;

    // The server ends the turn of one that is silent.
    let reply = it.all[1].register("new").await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
    it.all[0].program.signal("CONT").await;
    // It cannot say that somebody will go, so that nobody does.
    assert_eq!(answered(stopped).await.unwrap().status, 400);
    it.are_consistent().await;
    assert_eq!(it.sim.deletions(), 1);
    it.stop().await;
}

#[tokio::test]
async fn r14_without_its_database_a_replica_forwards_and_deletes_nobody_until_it_is_back() {
    let server = Server::start();
    let it = Replicas::start(&server, 1).await;
    let replica = &it.all[0];
    assert_eq!(replica.register("first").await.admission(), "evicted");
    server.obey("stop");
    let reply = replica.register("second").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (400, "forwarded; reason=registry-down")
    );
    assert_eq!(it.sim.deletions(), 1);
    server.obey("start");
    // By itself.
    let back = loop {
        let reply = replica.register("third").await;
        if reply.status == 200 {
            break reply;
        }
        assert_eq!(reply.admission(), "forwarded; reason=registry-down");
    };
    assert_eq!(back.admission(), "evicted");
    it.are_consistent().await;
    it.stop().await;
}
