//! What became of the requests of one turn's tools, as its session is told of it: each kind at once, its repeats counted.
//!
//! A tool may ask for the same host thousands of times a second, or for thousands of hosts. So repeats are told
//! together, each time after a longer pause, and hosts past a number are told as one.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::egress_policy::Host;

/// What was decided, `count` times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// `None`: several hosts, of a turn that asked for very many.
    pub(crate) target: Option<(Host, u16)>,
    /// `None`: it was allowed.
    pub(crate) refused: Option<&'static str>,
    pub(crate) count: u64,
}

/// Those of one turn.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    kinds: Mutex<HashMap<Kind, Repeats>>,
    came: Notify,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    target: Option<(Host, u16)>,
    refused: Option<&'static str>,
}

#[derive(Debug)]
struct Repeats {
    untold: u64,
    /// When they may be told.
    due: Instant,
    pause: Duration,
}

/// Kinds of one turn that are told apart.
const MOST_KINDS: usize = 64;

/// Between the first two times that the same is told. It doubles with each.
const PAUSE: Duration = Duration::from_secs(5);

const LONGEST_PAUSE: Duration = Duration::from_secs(80);

// === impl Decisions ===

impl Decisions {
    pub(super) fn note(&self, host: &Host, port: u16, refused: Option<&'static str>) {
        let mut kinds = self.kinds.lock();
        let mut kind = Kind {
            target: Some((host.clone(), port)),
            refused,
        };
        if kinds.len() >= MOST_KINDS && !kinds.contains_key(&kind) {
            kind.target = None;
        }
        let repeats = kinds.entry(kind).or_insert_with(|| Repeats {
            untold: 0,
            due: Instant::now(),
            pause: PAUSE,
        });
        repeats.untold += 1;
        drop(kinds);
        self.came.notify_one();
    }

    /// Waits until something is to be told. Cancel-safe: what is not returned stays.
    pub(super) async fn next(&self) -> Vec<Decision> {
        loop {
            let (told, due) = self.take(Instant::now());
            if !told.is_empty() {
                return told;
            }
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.came.notified() => {}
                () = wait => {}
            }
        }
    }

    /// Everything that was not told yet, however early: the turn ends.
    pub(super) fn rest(&self) -> Vec<Decision> {
        let mut kinds = self.kinds.lock();
        let rest = kinds.iter_mut().filter(|(_, repeats)| repeats.untold > 0);
        rest.map(|(kind, repeats)| kind.told(repeats)).collect()
    }

    /// What is to be told now, and when the next is.
    fn take(&self, now: Instant) -> (Vec<Decision>, Option<Instant>) {
        let (mut told, mut next) = (Vec::new(), None::<Instant>);
        let mut kinds = self.kinds.lock();
        for (kind, repeats) in kinds.iter_mut().filter(|(_, repeats)| repeats.untold > 0) {
            if repeats.due <= now {
                told.push(kind.told(repeats));
                repeats.due = now + repeats.pause;
                repeats.pause = (repeats.pause * 2).min(LONGEST_PAUSE);
            } else {
                next = Some(next.map_or(repeats.due, |next| next.min(repeats.due)));
            }
        }
        (told, next)
    }
}

// === impl Kind ===

impl Kind {
    fn told(&self, repeats: &mut Repeats) -> Decision {
        Decision {
            target: self.target.clone(),
            refused: self.refused,
            count: std::mem::take(&mut repeats.untold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        Host::parse(name).unwrap()
    }

    fn denied(name: &str, count: u64) -> Decision {
        Decision {
            target: Some((host(name), 443)),
            refused: Some("not_listed"),
            count,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_repeats_together_after_longer_and_longer_pauses() {
        let decisions = Decisions::default();
        let begun = Instant::now();
        let mut told = Vec::new();
        for after in [0, 5, 10, 20, 40, 80, 80] {
            for _ in 0..1000 {
                decisions.note(&host("a.example"), 443, Some("not_listed"));
            }
            let before = Instant::now();
            told.extend(decisions.next().await);
            assert_eq!(before.elapsed(), Duration::from_secs(after), "{told:?}");
        }
        assert!(begun.elapsed() > Duration::from_secs(200));
        assert_eq!(told, vec![denied("a.example", 1000); 7]);
        decisions.note(&host("a.example"), 443, Some("not_listed"));
        decisions.note(&host("b.example"), 443, Some("not_listed"));
        assert_eq!(decisions.next().await, [denied("b.example", 1)]);
        assert_eq!(decisions.rest(), [denied("a.example", 1)]);
        assert_eq!(decisions.rest(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn very_many_hosts_are_told_as_one() {
        let decisions = Decisions::default();
        for number in 0..10_000 {
            decisions.note(
                &host(&format!("a{number}.example")),
                443,
                Some("not_listed"),
            );
        }
        let told = decisions.next().await;
        assert_eq!(told.len(), MOST_KINDS + 1);
        let others = told.iter().find(|told| told.target.is_none()).unwrap();
        assert_eq!(others.count, 10_000 - MOST_KINDS as u64);
        decisions.note(&host("b.example"), 443, None);
        let told = decisions.next().await;
        assert_eq!((told[0].refused, told[0].count), (None, 1), "of its own");
    }
}
