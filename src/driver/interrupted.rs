//! A turn that ran when the sidecar before this one ended: what is stored of it is published, and then its end.
//!
//! The agent died with that sidecar, so nothing of the turn runs any more. Its key is gone as well: it was
//! kept in memory only. So the turn does not go on by itself; it ends as `interrupted`, and its client may
//! resume it. If OpenCode had stored its end, it ends as it had ended.

use std::time::Duration;

use super::child_connection::{self, ChildConnection};
use super::context::Context;
use super::publish::{note_deleted_files, publish};
use super::resync::{self, Found};
use super::start::settings;
use super::steering::{Presence, presence};
use super::translate::{End, Translator};
use super::{end_reasons, ending};
use crate::clock::Timestamp;
use crate::event::{Body, Event, Phase, State, Status};
use crate::opencode::types::SessionInfo;
use crate::session::{Interrupted, TurnHandle};

/// How long the end of the turn waits for an engine that may never come up.
const ENGINE_TIMEOUT: Duration = Duration::from_mins(1);

/// The subagents of a session, and what is stored of all.
type Stored = (Vec<SessionInfo>, Found);

/// Ends a turn that another process began. It comes to its end whatever the engine does.
pub(super) async fn run(mut turn: Interrupted, mut turn_handle: TurnHandle, context: Context) {
    tracing::info!(
        session.id = turn_handle.session.id,
        session.remote_id = turn.remote_id,
        "a turn was interrupted by the end of the sidecar; looking for the rest of it"
    );
    // A child that starts meanwhile hears that a turn waits for it, and warms up in the short way.
    let _waits = context.engine.turn();
    publish(&turn_handle, &mut vec![recovering()]);
    let mut translator = Translator::restore(
        settings(&context.config, &turn.remote_id),
        turn.notes.clone(),
        turn.before.clone(),
        turn.began,
    );
    let mut steers = std::mem::take(&mut turn.steers);
    // Whoever cancels is answered when the turn has ended.
    let mut waiting = None;
    let end = if turn.begun {
        tokio::select! {
            stored = find(&turn.remote_id, &context) => {
                steers.retain(|steer| {
                    let is_absent = is_absent(&stored.1, &steer.message_id);
                    if is_absent {
                        turn_handle.session.forget_steer(&steer.record);
                    }
                    !is_absent
                });
                apply(&mut translator, &turn, stored)
            }
            cancelled = turn_handle.cancelled() => {
                waiting = cancelled;
                End::Cancelled
            }
        }
    } else {
        // What is stored is of turns before it.
        end_reasons::interrupted(true)
    };
    // The agent has them, or nobody knows: under their keys they must not be run a second time.
    for steer in steers {
        turn_handle.session.note_steer(steer.record);
    }
    let (usage, (files, _)) = (translator.usage(), translator.files(false));
    turn_handle.update(|status| (status.usage, status.files_modified) = (usage, files));
    translator.withdraw_asks("the sidecar was restarted", Timestamp::now());
    translator.finish(end, false, Timestamp::now());
    note_deleted_files(&mut translator.events).await;
    publish(&turn_handle, &mut translator.events);
    context.registry.ended();
    drop(waiting);
}

/// Whether the agent certainly does not have the message with this id.
fn is_absent(found: &Found, id: &str) -> bool {
    match found {
        Found::Stored(stored) => presence(&stored.messages, id) != Presence::Whole,
        Found::Unknown => true,
        Found::NoAnswer => false,
    }
}

fn recovering() -> Event {
    let status = Status {
        state: State::Running,
        progress: 0,
        phase: Some(Phase::Recovering),
        current_tool: None,
        reason: Some("the sidecar was restarted".to_owned()),
    };
    Event::new(Timestamp::now(), Body::Status(status))
}

/// Applies what is stored of the turn, closes what is open, and returns how the turn ended.
fn apply(translator: &mut Translator, turn: &Interrupted, (subagents, found): Stored) -> End {
    let now = Timestamp::now();
    let end = match found {
        Found::Stored(missed) => {
            let (root, before) = (&*turn.remote_id, turn.before.as_deref());
            let ended = ending::last_of_session(&missed.messages, root, before)
                .and_then(ending::stored_end)
                .unwrap_or(end_reasons::interrupted(true));
            // Parents come before their children.
            for info in subagents {
                translator.apply_session(info, now);
            }
            translator.apply_missed(missed.history, missed.messages, now);
            ended
        }
        Found::Unknown => end_reasons::interrupted(false),
        // It may well be there.
        Found::NoAnswer => end_reasons::interrupted(true),
    };
    translator.abandon_run(now);
    // What the turn was doing at which moment is of no interest any more.
    translator
        .events
        .retain(|event| !matches!(event.body, Body::Status(_)));
    end
}

/// Waits for a child and asks it for session `root` and its subagents. Gives up after a while, and at once in
/// a shutdown.
async fn find(root: &str, context: &Context) -> Stored {
    let finding = async {
        let mut connections = context.connections.clone();
        while let Some(connection) = child_connection::next(&mut connections).await {
            tokio::select! {
                stored = ask(&connection, root, context) => return stored,
                // The next one is asked.
                () = connection.lost.cancelled() => {}
            }
        }
        (Vec::new(), Found::NoAnswer)
    };
    tokio::select! {
        stored = finding => stored,
        () = tokio::time::sleep(ENGINE_TIMEOUT) => (Vec::new(), Found::NoAnswer),
        () = context.shutdown.halt.cancelled() => (Vec::new(), Found::NoAnswer),
    }
}

async fn ask(connection: &ChildConnection, root: &str, context: &Context) -> Stored {
    // A new child runs nothing that an old one began. If it does all the same, its events would be lost.
    resync::stop_old_turn(connection, root, &context.config.workspace).await;
    let subagents = resync::subagents(connection, root).await;
    let mut session_tree = vec![(root.to_owned(), None)];
    session_tree.extend(subagents.iter().map(|info| (info.id.clone(), None)));
    let found = resync::look_up(connection, root, &session_tree, &context.demux).await;
    (subagents, found)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::driver::resync::StoredState;
    use crate::driver::translate::Settings;
    use crate::event::{Failure, FailureCode};
    use crate::opencode::types as oc;

    /// What the next child says of a turn that began after message `m0`, of which a call and the first four
    /// bytes of a text are published.
    fn applied(found: Found) -> (Translator, End) {
        let turn = Interrupted {
            remote_id: "s".into(),
            notes: vec![("p1".into(), 4), ("p2\ncall-p2\nbash".into(), 1)],
            begun: true,
            before: Some("m0".into()),
            began: Timestamp::now(),
            steers: Vec::new(),
        };
        let settings = Settings {
            root: "s".into(),
            directory: "/w".into(),
            loop_limit: 0,
        };
        let mut translator = Translator::restore(
            settings,
            turn.notes.clone(),
            turn.before.clone(),
            turn.began,
        );
        let end = apply(&mut translator, &turn, (Vec::new(), found));
        (translator, end)
    }

    fn stored(messages: &Value) -> Found {
        let messages = oc::messages(messages.to_string().as_bytes()).unwrap();
        Found::Stored(StoredState {
            complete: true,
            history: Vec::new(),
            asks: None,
            messages,
        })
    }

    fn answer(finish: Option<&str>, parts: Value) -> Value {
        let mut info =
            json!({ "id": "m1", "sessionID": "s", "role": "assistant", "time": { "created": 1 } });
        if let Some(finish) = finish {
            info["finish"] = finish.into();
            info["time"]["completed"] = 2.into();
        }
        let mut answer = json!([{ "info": info }]);
        answer[0]["parts"] = parts;
        answer
    }

    fn text(id: &str, text: &str) -> Value {
        json!({ "id": id, "messageID": "m1", "sessionID": "s", "type": "text", "text": text,
            "time": { "start": 1, "end": 2 } })
    }

    fn assert_interrupted(end: &End, resumable: bool) {
        let End::Failed(Failure { code, .. }) = end else {
            panic!("{end:?}");
        };
        assert_eq!(*code, FailureCode::Interrupted);
        assert_eq!(*end, end_reasons::interrupted(resumable));
    }

    fn kinds(translator: &Translator) -> Vec<&'static str> {
        translator.events.iter().map(Event::kind).collect()
    }

    #[test]
    fn a_turn_that_was_cut_off_gets_its_rest_and_is_interrupted() {
        let (translator, end) = applied(stored(&answer(None, json!([text("p1", "one two")]))));
        assert_interrupted(&end, true);
        assert_eq!(kinds(&translator), ["output", "tool_result"]);
        let Body::Output(output) = &translator.events[0].body else {
            panic!("{:?}", translator.events);
        };
        assert_eq!(output.text, "two");
    }

    #[test]
    fn a_turn_whose_end_is_stored_ends_as_it_had_ended() {
        let (_, end) = applied(stored(&answer(Some("stop"), json!([]))));
        let finish_reason = Some("stop".into());
        assert_eq!(end, End::Complete { finish_reason });
        let mut earlier = answer(Some("stop"), json!([]));
        earlier[0]["info"]["id"] = "m0".into();
        assert_interrupted(&applied(stored(&earlier)).1, true);
    }

    #[test]
    fn a_session_the_child_does_not_know_cannot_go_on() {
        let (translator, end) = applied(Found::Unknown);
        assert_interrupted(&end, false);
        assert_eq!(
            kinds(&translator),
            ["tool_result"],
            "the open call is closed"
        );
    }

    #[test]
    fn without_an_answer_the_turn_may_go_on_later() {
        let (translator, end) = applied(Found::NoAnswer);
        assert_interrupted(&end, true);
        assert_eq!(
            kinds(&translator),
            ["tool_result"],
            "the open call is closed"
        );
    }
}
