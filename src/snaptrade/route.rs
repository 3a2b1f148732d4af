//! Which of the vendor's calls a request is.

use http::Method;

/// The path prefix that clients from before June 2026 send. `SnapTrade` still answers to both forms.
pub const PREFIX: &str = "/api/v1";

/// The calls that the sidecar tells apart; closed, so that it can label a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    Register,
    ListUsers,
    DeleteUser,
    ResetSecret,
    ApiStatus,
    Other,
}

impl Route {
    /// Compares bytes and decodes nothing: a path that `SnapTrade` would have to normalise before it understood it
    /// is [`Route::Other`], so that it passes through instead of being acted upon.
    pub fn classify(method: &Method, path: &str) -> Self {
        match (method, without_prefix(path)) {
            (&Method::POST, "/snapTrade/registerUser") => Self::Register,
            (&Method::GET, "/snapTrade/listUsers") => Self::ListUsers,
            (&Method::DELETE, "/snapTrade/deleteUser") => Self::DeleteUser,
            (&Method::POST, "/snapTrade/resetUserSecret") => Self::ResetSecret,
            (&Method::GET, "/") => Self::ApiStatus,
            _ => Self::Other,
        }
    }

    /// The value of the metric label `route`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::ListUsers => "list_users",
            Self::DeleteUser => "delete_user",
            Self::ResetSecret => "reset_secret",
            Self::ApiStatus => "api_status",
            Self::Other => "other",
        }
    }
}

/// The canonical form of a path: without [`PREFIX`], if a further segment follows it. Removed once at most.
pub fn without_prefix(path: &str) -> &str {
    match path.strip_prefix(PREFIX) {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_path_forms_name_the_same_call() {
        let calls = [
            (Method::POST, "/snapTrade/registerUser", Route::Register),
            (Method::GET, "/snapTrade/listUsers", Route::ListUsers),
            (Method::DELETE, "/snapTrade/deleteUser", Route::DeleteUser),
            (Method::POST, "/snapTrade/resetUserSecret", Route::ResetSecret),
            (Method::GET, "/", Route::ApiStatus),
        ];
        for (method, path, route) in calls {
            assert_eq!(Route::classify(&method, path), route);
            assert_eq!(Route::classify(&method, &format!("{PREFIX}{path}")), route);
            assert_eq!(Route::classify(&Method::PUT, path), Route::Other);
            assert_eq!(Route::classify(&Method::HEAD, path), Route::Other);
        }
    }

    #[test]
    fn paths_that_need_normalising_are_other() {
        for path in [
            "",
            "*",
            "//snapTrade/registerUser",
            "/snapTrade//registerUser",
            "/snapTrade/./registerUser",
            "/snapTrade/registerUser/",
            "/snaptrade/registeruser",
            "/snapTrade/register%55ser",
            "/%73napTrade/registerUser",
            "/api/v1snapTrade/registerUser",
            "/api/v2/snapTrade/registerUser",
            "/API/v1/snapTrade/registerUser",
            "/api/v1/api/v1/snapTrade/registerUser",
            "/api/v1",
        ] {
            assert_eq!(Route::classify(&Method::POST, path), Route::Other, "{path}");
            assert_eq!(Route::classify(&Method::GET, path), Route::Other, "{path}");
        }
    }

    #[test]
    fn the_prefix_goes_once_and_only_as_whole_segments() {
        assert_eq!(without_prefix("/api/v1/accounts"), "/accounts");
        assert_eq!(without_prefix("/api/v1/api/v1/accounts"), "/api/v1/accounts");
        assert_eq!(without_prefix("/api/v1/"), "/");
        assert_eq!(without_prefix("/api/v1"), "/api/v1");
        assert_eq!(without_prefix("/api/v10/accounts"), "/api/v10/accounts");
    }

    #[test]
    fn each_route_has_a_label_of_its_own() {
        let routes = [
            Route::Register,
            Route::ListUsers,
            Route::DeleteUser,
            Route::ResetSecret,
            Route::ApiStatus,
            Route::Other,
        ];
        let labels: HashSet<&str> = routes.into_iter().map(Route::label).collect();
        assert_eq!(labels.len(), routes.len());
        assert!(labels.iter().all(|label| label.len() > 3), "{labels:?}");
    }

    proptest! {
        #[test]
        fn any_path_has_a_route(path in ".*") {
            let _ = Route::classify(&Method::POST, &path);
        }
    }
}
