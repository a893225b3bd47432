//! What a person may ask of the engine, and what two such requests at once mean. Pure.

/// A request about the child. The port is that of the next start; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Start { port: Option<u16> },
    Stop,
    Restart { port: Option<u16> },
}

/// What to do with a new request.
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
        let Some(current) = current else {
            return Admission::Begin;
        };
        match (self, current) {
            // A start may wait for long (for a mount, say), and whoever wants the engine stopped must
            // not have to wait with it.
            (Self::Stop, Self::Start { .. } | Self::Restart { .. }) => Admission::Begin,
            (Self::Stop, Self::Stop) => Admission::Join,
            // A restart ends as a start does.
            (Self::Start { port }, Self::Start { .. } | Self::Restart { .. })
            | (Self::Restart { port }, Self::Restart { .. })
                if any(port) || port == current.port() =>
            {
                Admission::Join
            }
            _ => Admission::Refuse,
        }
    }

    /// Whether a child on (or on its way to) `port` is all this asks for.
    pub(super) fn is_satisfied_by(self, port: u16) -> bool {
        matches!(self, Self::Start { port: wanted } if any(wanted) || wanted == Some(port))
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

/// Whether any port will do.
const fn any(port: Option<u16>) -> bool {
    matches!(port, None | Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Operation = Operation::Start { port: None };
    const RESTART: Operation = Operation::Restart { port: None };

    const fn start(port: u16) -> Operation {
        Operation::Start { port: Some(port) }
    }

    const fn restart(port: u16) -> Operation {
        Operation::Restart { port: Some(port) }
    }

    #[test]
    fn two_wishes_at_once_join_contradict_or_supersede() {
        use Admission::{Begin, Join, Refuse};
        let stop = Operation::Stop;
        let cases = [
            (START, START, Join),
            (START, start(1), Join),
            (start(0), start(1), Join),
            (start(1), start(1), Join),
            (start(1), start(2), Refuse),
            (start(1), START, Refuse),
            (START, RESTART, Join),
            (START, restart(1), Join),
            (start(1), restart(1), Join),
            (start(1), RESTART, Refuse),
            (START, stop, Refuse),
            (RESTART, RESTART, Join),
            (RESTART, restart(1), Join),
            (restart(1), RESTART, Refuse),
            (RESTART, START, Refuse),
            (RESTART, stop, Refuse),
            (stop, START, Begin),
            (stop, restart(1), Begin),
            (stop, stop, Join),
        ];
        for (new, current, expected) in cases {
            assert_eq!(
                new.admit(Some(current)),
                expected,
                "{new:?} while {current:?}"
            );
            assert_eq!(new.admit(None), Begin);
        }
    }

    #[test]
    fn only_a_start_is_content_with_what_is_there() {
        assert!(
            START.is_satisfied_by(1) && start(0).is_satisfied_by(1) && start(1).is_satisfied_by(1)
        );
        assert!(!start(2).is_satisfied_by(1) && !RESTART.is_satisfied_by(1));
    }
}
