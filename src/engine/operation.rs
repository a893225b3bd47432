//! What a person may ask of the engine, and what two such wishes at once mean. Pure.

/// A wish about the child. The port is that of the next start; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Start { port: Option<u16> },
    Stop,
    Restart { port: Option<u16> },
}

/// What to do with a new wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Nothing stands in its way.
    Begin,
    /// The same is being done already: wait for that.
    Join,
    /// Something else is being done.
    Refuse,
}

// === impl Operation ===

impl Operation {
    pub(super) fn admit(self, current: Option<Self>) -> Admission {
        match current {
            None => Admission::Begin,
            Some(current) if current == self => Admission::Join,
            Some(_) => Admission::Refuse,
        }
    }

    pub(super) const fn port(self) -> Option<u16> {
        match self {
            Self::Start { port } | Self::Restart { port } => port,
            Self::Stop => None,
        }
    }

    /// For "a … is in progress".
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Stop => "stop",
            Self::Restart { .. } => "restart",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_wish_joins_and_another_is_refused() {
        let start = Operation::Start { port: None };
        assert_eq!(start.admit(None), Admission::Begin);
        assert_eq!(start.admit(Some(start)), Admission::Join);
        assert_eq!(start.admit(Some(Operation::Stop)), Admission::Refuse);
        assert_eq!(Operation::Stop.admit(Some(start)), Admission::Refuse);
        assert_eq!(
            start.admit(Some(Operation::Start { port: Some(1) })),
            Admission::Refuse
        );
    }
}
