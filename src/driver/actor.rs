//! One task per turn: everything that happens to the turn happens here, in one order.
//!
//! ```text
//! running --sign of an end--> end_check --it has ended--> closed
//!   |  ^                        | not yet
//!   |  +------------------------+
//!   +--cancel, timeout, loop, shutdown--> stopping --ended, or 4 s later--> closed
//!   +--the child is gone--> recovery --the next one goes on--> running
//!                              +--it does not come, or once too often--> closed
//! ```
//!
//! Events are taken while the child is asked something: calls are futures beside the queue of events, never in
//! front of it. The one exception is after a lost feed, when what was missed must come first.

mod ask_calls;
mod asks;
mod child_lost;
mod counts;
mod egress;
mod end_check;
mod events;
mod facts;
mod run;
mod stall;
mod state;
mod steer;
mod stop;

pub(super) use self::run::run;
