//! What happened, as the log and the metrics name it.

use bytes::Bytes;
use http::Response;

use crate::admission::Note;
use crate::snaptrade::answer::ErrorBody;
use crate::types::UserId;

/// Of what SnapTrade says in a refusal, for the log.
const REFUSAL_CHARS_MAX: usize = 200;

/// Whom a note is about, how that is counted, and what the log says.
pub(super) fn in_words(note: &Note) -> Option<(&UserId, &'static str, &'static str)> {
    Some(match note {
        Note::TombstonesCount => return None,
        Note::Evicted(victim) => (
            victim,
            "evicted",
            "evicted: the user is deleted and no longer listed",
        ),
        Note::EvictionOvertaken(victim) => (
            victim,
            "evicted",
            "evicted: SnapTrade registered the user anew, so that it was gone",
        ),
        Note::EvictionRefused(victim) => (
            victim,
            "refused",
            "eviction refused: SnapTrade did not accept the deletion",
        ),
        Note::EvictionUnsettled(victim) => (
            victim,
            "unsettled",
            "eviction unsettled: the deletion was sent and the user is still listed after settle_timeout; it may still go, so \
             take it as gone",
        ),
        Note::EvictionUnknown(victim) => (
            victim,
            "unsettled",
            "eviction unsettled: it was intended by another replica, or before a restart, and the user is still listed after \
             settle_timeout. Its deletion may have been sent and may still happen",
        ),
        Note::EvictionWithdrawn(victim) => (victim, "withdrawn", "eviction withdrawn: no deletion was sent"),
        Note::WouldEvict(victim, _) => (
            victim,
            "would-evict",
            "would evict this user, if the mode were not observe",
        ),
    })
}

/// What SnapTrade said in a refusal: without it nobody can tell which words mean the limit.
pub(super) fn refusal(reply: &Response<Bytes>) -> Option<String> {
    if !reply.status().is_client_error() {
        return None;
    }
    let said = ErrorBody::parse(reply.body());
    let text = said
        .codes
        .iter()
        .chain(&said.details)
        .fold(String::new(), |text, word| text + word + " ");
    Some(text.trim_end().chars().take(REFUSAL_CHARS_MAX).collect())
}
