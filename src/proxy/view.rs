//! What is in force, as one worker sees it.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use crate::guard::{Guard, InForce, Latest, Live};
use crate::snaptrade::query;
use crate::upstream::forward::Forwarder;

/// Who a call is for.
pub(super) struct Whose<'s> {
    /// The one whose client id the query names.
    pub(super) tenant: Option<&'s Arc<Guard>>,
    /// The bytes of the query that are the raw id of its user; of several, the first.
    pub(super) user: Option<Range<usize>>,
}

/// What is in force, and the worker's connections, which stay. A request keeps the one that it began with to its end.
#[derive(Debug)]
pub(super) struct View {
    in_force: Arc<InForce>,
    pub(super) forwarder: Forwarder,
}

impl View {
    fn new(in_force: &Arc<InForce>, forwarder: &Forwarder) -> Self {
        Self {
            in_force: Arc::clone(in_force),
            forwarder: forwarder.with_response_timeout(in_force.config.proxy.response_timeout),
        }
    }

    pub(super) fn health_paths(&self) -> bool {
        self.in_force.config.proxy.health_paths
    }

    pub(super) fn max_requests(&self) -> usize {
        self.in_force.config.proxy.max_requests
    }

    pub(super) fn max_registration_bytes(&self) -> usize {
        self.in_force.config.proxy.max_registration_bytes
    }

    /// Who a query says that its call is for. In one pass and no further than it must, since every request is looked at.
    pub(super) fn whose(&self, query: Option<&str>) -> Whose<'_> {
        let (mut tenant, mut user) = (None, None);
        for parameter in query::parameters(query.unwrap_or_default()) {
            if tenant.is_none() && parameter.is("clientId") {
                let client_id = query::decode(parameter.value);
                tenant = client_id.and_then(|client_id| self.in_force.of_client(client_id.as_ref()));
            } else if user.is_none() && parameter.is("userId") {
                user = Some(parameter.value_at..parameter.value_at + parameter.value.len());
            }
            if tenant.is_some() && user.is_some() {
                break;
            }
        }
        Whose { tenant, user }
    }
}

/// The view of this moment.
pub(super) struct Views(RefCell<(Latest, Rc<View>)>);

impl Views {
    pub(super) fn new(live: &Live, forwarder: &Forwarder) -> Self {
        let view = Rc::new(View::new(&live.load(), forwarder));
        Self(RefCell::new((live.latest(), view)))
    }

    /// One look at a pointer that all workers read. Who uses a view is counted by its worker alone, so that no request
    /// waits for another's.
    pub(super) fn now(&self) -> Rc<View> {
        let (latest, view) = &mut *self.0.borrow_mut();
        let in_force = latest.load();
        if !Arc::ptr_eq(in_force, &view.in_force) {
            *view = Rc::new(View::new(in_force, &view.forwarder));
        }
        Rc::clone(view)
    }
}
