//! Ends what outlived a child, and says in the log what became of it.

use super::reaper::{Reaper, Scope};
use super::sweep::Swept;

/// Ends what the child left behind.
pub(super) async fn sweep(reaper: &Reaper) -> Swept {
    report(reaper.sweep(Scope::Leftovers).await)
}

/// Ends what a sidecar that was killed left behind.
pub(super) async fn sweep_earlier(reaper: &Reaper) -> Swept {
    report(reaper.sweep(Scope::Marked).await)
}

/// Both of these, until there is nothing for either.
pub(super) async fn sweep_all(reaper: &Reaper) -> Swept {
    let earlier = sweep_earlier(reaper).await;
    if earlier.ended() {
        sweep(reaper).await
    } else {
        earlier
    }
}

fn report(swept: Swept) -> Swept {
    if swept.killed > 0 {
        tracing::warn!(
            processes = swept.killed,
            "killed processes that outlived the engine"
        );
    }
    if swept.dying > 0 {
        tracing::error!(
            processes = swept.dying,
            "the kernel does not let go of killed processes of the engine"
        );
    }
    if !swept.ended() {
        tracing::error!(
            processes = swept.running,
            "processes of the engine still run; no new one starts before they are ended"
        );
    }
    swept
}
