//! What an admission does, step by step.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use snaptrade_sidecar::simulator::{Call, CallKind};

use super::collector::{Received, Span};
use super::{PARENT, STATE, TRACE, Traced, lines, no_secret_is_in, sampled};
use crate::harness::{CONSUMER_KEY, FIVE, options};

const CALLS: [&str; 3] = ["register", "list_users", "delete_user"];

#[tokio::test]
async fn an_admission_is_traced_step_by_step_to_the_registration_that_is_signed_anew() {
    let settings = [("tenants.default.eviction.mode", "on-limit-error")];
    let it = Traced::with(&settings, &[]).await;
    for user in FIVE {
        it.it.sim.add_user(user);
    }
    let reply = it.it.register_in(&sampled()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (200, "evicted; retried")
    );
    let secret = reply.json()["userSecret"].as_str().unwrap().to_owned();
    let calls = it.it.sim.calls();
    let received = it.end().await;
    let (request, steps) = received.spans.split_first().unwrap();
    tells_what_came_of_it(request);
    are_the_steps_of(request, steps);
    go_on_as_parts_of_their_steps(&calls, steps);

    let signatures: Vec<String> = calls.iter().flat_map(|call| lines(call, "signature")).collect();
    assert!(signatures.len() >= 5, "{signatures:?}");
    let secrets = [&*secret, CONSUMER_KEY, "userSecret", "timestamp", "clientId"].into_iter();
    let secrets: Vec<&str> = secrets.chain(signatures.iter().map(String::as_str)).collect();
    no_secret_is_in(&received, &secrets);
}

fn tells_what_came_of_it(request: &Span) {
    assert_eq!((&*request.trace, &*request.parent), (TRACE, PARENT));
    assert_eq!(request.name, "POST /snapTrade/registerUser");
    let own = |key: &str| request.get(&format!("snaptrade_sidecar.{key}"));
    for (key, told) in [
        ("tenant", "default"),
        ("route", "register"),
        ("newcomer", "new"),
        ("admission.outcome", "evicted"),
        ("admission.retried", "true"),
        ("admission.replayed", "false"),
        ("admission.evicted", "a"),
    ] {
        assert_eq!(own(key), told, "{key}");
    }
    assert_eq!(request.get("http.response.status_code"), "200");
    assert_eq!(request.get("http.route"), "/snapTrade/registerUser");
}

fn are_the_steps_of(request: &Span, steps: &[Span]) {
    // A list that shows the victim still is followed by a pause and another one.
    let all = steps.iter().map(|step| &*step.name);
    let mut names: Vec<&str> = all.filter(|name| *name != "pause").collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "wait_for_lock",
            "wait_for_turn",
            "register",
            "list_users",
            "record_intent",
            "delete_user",
            "list_users",
            "register",
        ]
    );
    for step in steps {
        assert_eq!((&*step.trace, &step.parent), (TRACE, &request.id), "{step:?}");
        assert!(step.from >= request.from && step.to <= request.to, "{step:?}");
        let (kind, host) = if CALLS.contains(&&*step.name) {
            (SpanKind::Client, "127.0.0.1")
        } else {
            (SpanKind::Internal, "")
        };
        assert_eq!((step.kind, step.get("server.address")), (kind, host), "{step:?}");
        let is_of_victim = ["record_intent", "delete_user"].contains(&&*step.name);
        let victim = if is_of_victim { "a" } else { "" };
        assert_eq!(step.get("snaptrade_sidecar.victim"), victim, "{step:?}");
    }
}

fn go_on_as_parts_of_their_steps(calls: &[Call], steps: &[Span]) {
    let sent: Vec<&Span> = steps.iter().filter(|step| step.name == "register").collect();
    let told = sent.iter().map(|step| {
        let status = step.get("http.response.status_code");
        let why = step.get("error.type");
        (step.get("snaptrade_sidecar.resigned"), status, step.is_error, why)
    });
    let limit = options().limit_status.to_string();
    assert_eq!(
        told.collect::<Vec<_>>(),
        [("false", &*limit, true, &*limit), ("true", "200", false, "")]
    );
    let registrations = calls.iter().filter(|call| call.kind == CallKind::Register);
    let registrations: Vec<&Call> = registrations.collect();
    assert_eq!(registrations.len(), sent.len());
    for (call, step) in registrations.into_iter().zip(sent) {
        assert_eq!(lines(call, "traceparent"), [step.line()]);
        assert_eq!(lines(call, "tracestate"), [STATE]);
    }
}

#[tokio::test]
async fn what_keeps_room_from_being_made_is_told_in_the_spans() {
    let it = Traced::with(&[("tenants.default.eviction.protect", "*")], &[]).await;
    for user in FIVE {
        it.it.sim.add_user(user);
    }
    it.it.register("new").await;
    let Received { spans, .. } = it.end().await;
    let (request, steps) = spans.split_first().unwrap();
    let own = |key: &str| request.get(&format!("snaptrade_sidecar.{key}"));
    assert_eq!(own("admission.outcome"), "forwarded");
    assert_eq!(own("admission.reason"), "nobody-evictable");
    assert!(
        steps
            .iter()
            .all(|step| step.parent == request.id && step.name != "delete_user")
    );
}
