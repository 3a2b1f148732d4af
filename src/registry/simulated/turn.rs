//! Whose turn it is, as PostgreSQL's advisory locks say.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::super::{Entry, Intended, RegistryError, Result};
use super::{HEARTBEAT, LOOK, SLACK, Server, Simulated};
use crate::clock::link::Fate;
use crate::clock::machine::{Machine, here};

impl Simulated {
    pub(in crate::registry) async fn turn(&self, tenant: &str, patience: Duration) -> Result<Turn> {
        let machine = Machine::current().map(|machine| machine.name().to_owned());
        let (machine, name) = (machine.unwrap_or_default(), tenant.to_owned());
        let number = self
            .ask(move |server| server.sessions().open(machine, &name))
            .await?;
        let session = Open {
            registry: self.clone(),
            number,
        };
        // The server gives the lock to the next by itself, and says so.
        let (answer, granted) = oneshot::channel();
        let (server, link, back) = (self.server.clone(), self.link.clone(), self.link.fate());
        tokio::spawn(async move {
            while !server.sessions().has_lock(number) {
                if !server.sessions().alive.contains_key(&number) {
                    return;
                }
                sleep(LOOK).await;
            }
            if let Fate::Arrives(time) = back {
                link.travel(time).await;
                let _ = answer.send(());
            }
        });
        if !matches!(timeout(patience + SLACK, granted).await, Ok(Ok(()))) {
            let why = format!("did not give the turn of tenant {tenant}");
            return Err(RegistryError(why));
        }
        let held = Arc::new(Mutex::new(Ok(session)));
        let heartbeat = tokio::spawn(here(beat(Arc::clone(&held))));
        Ok(Turn {
            held,
            _heartbeat: AbortOnDropHandle::new(heartbeat),
        })
    }
}

/// A session that is open at the server, as far as its machine knows. Dropping it ends it.
#[derive(Debug)]
struct Open {
    registry: Simulated,
    number: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        let (registry, number) = (self.registry.clone(), self.number);
        tokio::spawn(async move {
            let Fate::Arrives(time) = registry.link.fate() else {
                return;
            };
            registry.link.travel(time).await;
            registry.server.sessions().close(number);
        });
    }
}

/// A tenant's turn, until it is dropped or lost.
#[derive(Debug)]
pub struct Turn {
    held: Arc<Mutex<Held>>,
    _heartbeat: AbortOnDropHandle<()>,
}

type Held = std::result::Result<Open, RegistryError>;

impl Turn {
    pub(in crate::registry) async fn is_held(&mut self) -> bool {
        check(&mut *self.held.lock().await).await
    }

    pub(in crate::registry) async fn intend(&mut self, entry: &Entry) -> Result<Intended> {
        let entry = entry.clone();
        let write = move |server: &Server, number| {
            let has_lock = server.sessions().has_lock(number);
            has_lock.then(|| server.intend(&entry))
        };
        by_session(&mut *self.held.lock().await, write).await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Ok(mut held) = self.held.try_lock() {
            *held = Err(RegistryError("the turn was given up".to_owned()));
        }
    }
}

async fn check(held: &mut Held) -> bool {
    let hear = |server: &Server, number| server.sessions().has_lock(number).then_some(());
    by_session(held, hear).await.is_ok()
}

/// Does something by the session that has the lock. If that fails, the turn is lost for good.
async fn by_session<T: Send + 'static>(
    held: &mut Held,
    work: impl FnOnce(&Server, u64) -> Option<T> + Send + 'static,
) -> Result<T> {
    let session = held.as_ref().map_err(Clone::clone)?;
    let number = session.number;
    let why = match session.registry.ask(move |server| work(server, number)).await {
        Ok(Some(done)) => return Ok(done),
        Ok(None) => RegistryError("the turn is lost: its session was ended".to_owned()),
        Err(RegistryError(why)) => RegistryError(format!("the turn is lost: {why}")),
    };
    *held = Err(why.clone());
    Err(why)
}

async fn beat(held: Arc<Mutex<Held>>) {
    loop {
        sleep(HEARTBEAT).await;
        if !check(&mut *held.lock().await).await {
            return;
        }
    }
}
