//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Proxy;

/// Beside the connections of callers and those to the upstream: listeners, the registry, the log, the ops plane, timers.
const OTHERS: usize = 512;

/// Raises the limit to what the process may have. The limit that is usual, 1024, is meant for programs that use select(2);
/// tokio does not. Returns how many callers may be connected, so that there is something left for all else that the sidecar
/// does for them, and for its operator.
pub(super) fn connections_max(proxy: &Proxy) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let is_raised = current != maximum && setrlimit(Resource::Nofile, raised).is_ok();
    let allowed = if is_raised { maximum } else { current };
    // None is no limit.
    let allowed = allowed.map_or(usize::MAX, |allowed| {
        usize::try_from(allowed).unwrap_or(usize::MAX)
    });
    let fitting = fitting(proxy, allowed);
    if fitting < proxy.max_connections {
        tracing::warn!(
            allowed,
            connections = fitting,
            "the process may have fewer files open than proxy.max_connections and proxy.max_requests take, so that fewer \
             callers are served at once; raise the limit (ulimit -n, LimitNOFILE=), or lower these"
        );
    }
    fitting
}

/// Where the descriptors do not suffice, callers get at least half of them.
fn fitting(proxy: &Proxy, allowed: usize) -> usize {
    let kept = OTHERS.min(allowed / 4) + proxy.max_requests.min(allowed / 4);
    proxy.max_connections.min(allowed - kept).max(1)
}
