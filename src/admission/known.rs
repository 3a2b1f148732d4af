//! What is remembered of a user.

use crate::types::Millis;

/// One user of a tenant, as far as this registry knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// When this registry first saw it: a lower bound of its age.
    pub first_seen: Millis,
    /// When it was registered, where that is known.
    pub registered: Option<(Millis, Source)>,
    /// When SnapTrade last answered a call for it with 2xx.
    pub last_active: Option<Millis>,
    /// How many such calls there were; as many as can be counted, if there were more. Of connections, too: a million users
    /// have to have room.
    pub calls: u32,
    /// `None` where no webhook told of any.
    pub connections: Option<Connections>,
    /// By hand.
    pub protected: bool,
}

/// How it is known when a user was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The registration went through us.
    Own,
    /// SnapTrade's webhook said so.
    Webhook,
}

impl Source {
    /// As it is stored and told.
    pub fn token(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Webhook => "webhook",
        }
    }
}

/// A user's brokerage connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    pub working: u16,
    pub broken: u16,
}
