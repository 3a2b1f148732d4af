//! The vendor's wire, pure: which call a request is, how it is signed, what a reply means. No IO, no clock.
//!
//! - [`route`]: which call a method and a path name.
//! - [`query`]: raw query strings, read and changed without disturbing the bytes that were signed.
//! - [`canonical`]: a request body as signatures see it.
//! - [`signature`]: sign and verify, in every form that the official clients use.
//! - [`proof`]: whether a registration may be acted upon.
//! - [`answer`]: what a reply to a registration or a deletion means.
//! - [`budget`]: how many calls are left, and when to come back.
//! - [`listing`]: the users that `listUsers` names.

pub mod answer;
pub mod budget;
pub mod canonical;
pub mod listing;
pub mod proof;
pub mod query;
pub mod route;
pub mod signature;
