//! What a reply to a registration or a deletion means.
//!
//! Everything here leans to the harmless side: a refusal is taken for the limit only if it says so itself, because
//! taking a validation error for it deletes a user.

use serde_json::{Map, Value};

use crate::types::{UserId, UserSecret};

/// The error code of a user id that is taken. Its wording varies, the code does not.
const CODE_ALREADY_EXISTS: &str = "1010";
/// "Unable to verify signature sent".
const CODE_BAD_SIGNATURE: &str = "1076";
/// How `SnapTrade` refuses to register under a personal key. Its code, 1012, is used for other invalid input too.
const PERSONAL_KEY_PHRASES: [&str; 2] = [
    "personal snaptrade keys are provisioned",
    "not available for personal keys",
];

/// What throttling says, whatever its status: some of it also says that a limit is reached.
const THROTTLED_PHRASES: [&str; 4] = ["throttled", "rate limit", "too many requests", "request limit"];

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Registered {
        user_id: UserId,
        secret: UserSecret,
    },
    LimitReached,
    AlreadyExists,
    Throttled,
    BadSignature,
    PersonalKey,
    /// Refused for a reason that room would not change.
    Refused,
    /// The user may or may not exist now.
    Unclear,
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Queued; it is done when the id is no longer listed.
    Accepted,
    /// `SnapTrade` will not delete this user (403); the next in order may be tried.
    Refused,
    /// There is no such user (404), so that the list was wrong about it.
    NotFound,
    /// `SnapTrade` did not accept the call as such: a setting of ours is wrong, and the next call would fare no better.
    Rejected,
    /// It never left, so that `SnapTrade` knows nothing of it.
    Unsent,
    /// The user may or may not be going.
    Unclear,
}

/// The parts of an error body that mean something. `SnapTrade` names them in two ways; both are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// `detail` and `default_detail`, where they are strings.
    pub details: Vec<String>,
    /// `code` and `default_code`.
    pub codes: Vec<String>,
}

impl ErrorBody {
    /// Reads what there is to read; a body that is no JSON object has nothing.
    pub fn parse(body: &[u8]) -> Self {
        let object: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| {
            object
                .get(key)
                .and_then(Value::as_u64)
                .map(|code| code.to_string())
        };
        Self {
            details: ["detail", "default_detail"]
                .into_iter()
                .filter_map(text)
                .collect(),
            codes: ["code", "default_code"]
                .into_iter()
                .filter_map(|key| text(key).or_else(|| number(key)))
                .collect(),
        }
    }

    fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|own| own == code)
    }
}

/// Reads the reply to a registration.
///
/// `phrases` tell a limit error, in any case. `newcomer` is the id to be registered: errors echo it, and an id named
/// "limit reached" must not turn a validation error into an eviction.
pub fn classify_registration(
    status: u16,
    body: &[u8],
    phrases: &[String],
    newcomer: Option<&UserId>,
) -> Answer {
    match status {
        200..=299 => registered(body),
        // The server, or a proxy on the way, gave up; the request may have arrived all the same.
        408 => Answer::Unclear,
        429 => Answer::Throttled,
        400..=499 => refused(status, &ErrorBody::parse(body), phrases, newcomer),
        _ => Answer::Unclear,
    }
}

/// Reads the status of a reply to a deletion.
pub fn classify_deletion(status: u16) -> Deletion {
    match status {
        200..=299 => Deletion::Accepted,
        403 => Deletion::Refused,
        404 => Deletion::NotFound,
        408 | 429 => Deletion::Unclear,
        400..=499 => Deletion::Rejected,
        _ => Deletion::Unclear,
    }
}

fn registered(body: &[u8]) -> Answer {
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return Answer::Unclear;
    };
    let text = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    match (text("userId"), text("userSecret")) {
        (Some(id), Some(secret)) => Answer::Registered {
            user_id: UserId::new(id),
            secret: UserSecret::new(secret),
        },
        _ => Answer::Unclear,
    }
}

fn refused(status: u16, error: &ErrorBody, phrases: &[String], newcomer: Option<&UserId>) -> Answer {
    let id = newcomer.map_or_else(String::new, |id| id.as_str().to_lowercase());
    let says = |phrase: &str| {
        let phrase = phrase.to_lowercase();
        // An id may be echoed escaped or cut, so a phrase that it holds itself is no evidence at all.
        let own_words = phrase.is_empty() || id.contains(&phrase);
        !own_words
            && error.details.iter().any(|detail| {
                let pieces = detail.to_lowercase();
                let mut pieces = without_echo(&pieces, &id).into_iter();
                pieces.any(|piece| piece.contains(&phrase))
            })
    };
    if error.has_code(CODE_ALREADY_EXISTS) {
        Answer::AlreadyExists
    } else if error.has_code(CODE_BAD_SIGNATURE) {
        Answer::BadSignature
    } else if PERSONAL_KEY_PHRASES.into_iter().any(says) {
        Answer::PersonalKey
    } else if THROTTLED_PHRASES.into_iter().any(says) {
        Answer::Throttled
    } else if !matches!(status, 401 | 404) && phrases.iter().any(|phrase| says(phrase)) {
        Answer::LimitReached
    } else {
        Answer::Refused
    }
}

/// The pieces of the text between the places where the id stands as a word of its own. Inside other words it is no
/// echo: a user called "e" must not make "limit reached" unreadable.
fn without_echo<'t>(text: &'t str, id: &str) -> Vec<&'t str> {
    let (mut pieces, mut start, mut from) = (Vec::new(), 0, 0);
    let has_word = id.contains(char::is_alphanumeric);
    while let Some(at) = has_word.then(|| text[from..].find(id)).flatten() {
        let at = from + at;
        let (before, after) = (&text[start..at], &text[at + id.len()..]);
        if joins(before.chars().last(), id.chars().next()) || joins(id.chars().last(), after.chars().next()) {
            from = at + text[at..].chars().next().map_or(1, char::len_utf8);
        } else {
            pieces.push(before);
            start = at + id.len();
            from = start;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

fn joins(left: Option<char>, right: Option<char>) -> bool {
    left.zip(right)
        .is_some_and(|(left, right)| left.is_alphanumeric() && right.is_alphanumeric())
}

#[cfg(test)]
mod tests;
