//! A turn that one process begins to tell and another one ends: cut at every place of every recording.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::driver::translate::{End, Settings, Translator};
use crate::event::{Body, Event, Usage};
use crate::opencode::types as oc;

use super::RECORDINGS;
use super::harness::{Harness, NOW, harness, said, text, tool};
use super::replay::{Line, Player, Recording};

/// What must come out the same, whoever tells it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    /// By part, without the output of tools: of that a call that is told by two has only the first's.
    texts: BTreeMap<String, String>,
    calls: BTreeMap<String, usize>,
    results: BTreeMap<String, Vec<String>>,
}

/// One turn of a recording as one process told it.
struct Whole {
    /// Those of its lines; what comes after its end is still its own.
    lines: std::ops::Range<usize>,
    /// Those of its events.
    events: std::ops::Range<usize>,
    before: Option<String>,
    usage: Usage,
    files: Vec<String>,
}

/// A recording, told by one process.
struct Uncut {
    player: Player,
    turns: Vec<Whole>,
    /// How many events there were after each line.
    places: Vec<usize>,
}

/// The messages as OpenCode has them after some lines, and the sessions there are.
#[derive(Default)]
struct Store {
    sessions: BTreeMap<String, Box<RawValue>>,
    messages: BTreeMap<String, Box<RawValue>>,
    parts: BTreeMap<String, Box<RawValue>>,
}

impl Told {
    fn of(events: &[Event]) -> Self {
        let mut told = Self::default();
        for event in events {
            match &event.body {
                Body::Output(output) if output.call_id.is_none() => {
                    let part = event.note.as_ref().unwrap().part.to_string();
                    *told.texts.entry(part).or_default() += &output.text;
                }
                Body::ToolCall(call) => {
                    *told.calls.entry(call.call_id.to_string()).or_default() += 1;
                }
                Body::ToolResult(result) => {
                    let results = told.results.entry(result.call_id.to_string()).or_default();
                    results.push(format!("{} {:?}", result.tool, result.result));
                }
                _ => {}
            }
        }
        told
    }
}

/// Raw, because a text may hold half a character.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    properties: Option<Properties<'a>>,
}

#[derive(Deserialize)]
struct Properties<'a> {
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    #[serde(borrow)]
    part: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named<'a> {
    id: &'a str,
    #[serde(rename = "messageID")]
    message: Option<&'a str>,
}

fn named(raw: &RawValue) -> Named<'_> {
    serde_json::from_str(raw.get()).unwrap()
}

impl Store {
    fn after(lines: &[Line]) -> Self {
        let mut store = Self::default();
        for line in lines {
            let envelope: Envelope<'_> = serde_json::from_str(&line.json).unwrap();
            let Some(properties) = envelope.payload.properties else {
                continue;
            };
            let (stored, raw) = match (envelope.payload.kind, properties.info, properties.part) {
                ("session.created" | "session.updated", Some(info), _) => {
                    (&mut store.sessions, info)
                }
                ("message.updated", Some(info), _) => (&mut store.messages, info),
                ("message.part.updated", _, Some(part)) => (&mut store.parts, part),
                _ => continue,
            };
            stored.insert(named(raw).id.to_owned(), raw.to_owned());
        }
        store
    }

    /// What `GET /session/{id}/message` would answer, of all sessions.
    fn list(&self) -> Vec<oc::Message> {
        let messages = self.messages.iter().map(|(id, info)| {
            let of_it = self
                .parts
                .values()
                .filter(|part| named(part).message == Some(id))
                .map(|part| part.get());
            let parts = of_it.collect::<Vec<_>>().join(",");
            format!(r#"{{"info":{info},"parts":[{parts}]}}"#)
        });
        let body = format!("[{}]", messages.collect::<Vec<_>>().join(","));
        oc::messages(body.as_bytes()).unwrap()
    }

    /// What is known of the sessions below, as of the history's beginning.
    fn subagents(&self) -> Vec<oc::HistoryItem> {
        let infos = self.sessions.iter().map(|(id, info)| {
            format!(
                r#"{{"id":"{id}","aggregate_id":"{id}","seq":0,"type":"session.created.1","data":{{"info":{info}}}}}"#
            )
        });
        let body = format!("[{}]", infos.collect::<Vec<_>>().join(","));
        oc::history(body.as_bytes()).unwrap()
    }

    fn newest(&self) -> Option<String> {
        self.messages.keys().next_back().cloned()
    }
}

fn settings(root: &str) -> Settings {
    Settings {
        root: root.to_owned(),
        directory: "/workspace".into(),
        loop_limit: 0,
    }
}

/// The newest note of each part.
fn notes(events: &[Event]) -> Vec<(String, u64)> {
    let mut notes: HashMap<String, u64> = HashMap::new();
    for note in events.iter().filter_map(|event| event.note.as_ref()) {
        let before = notes.insert(note.part.to_string(), note.value);
        assert!(before.is_none_or(|before| before <= note.value), "{note:?}");
    }
    notes.into_iter().collect()
}

impl Uncut {
    fn tell(recording: &Recording) -> Self {
        let mut player = Player::new(recording);
        let (mut turns, mut places) = (Vec::new(), Vec::new());
        let mut begin = (0, 0, None);
        for (index, line) in recording.lines.iter().enumerate() {
            let last = (player.translator.usage(), player.translator.files(true).0);
            let events = player.events.len();
            let (running, turns_before) = (player.running, player.begun);
            player.frame(line.json.as_bytes(), line.at);
            if player.begun > turns_before {
                assert!(!running);
                let before = Store::after(&recording.lines[..index]).newest();
                let (from, first, older) = std::mem::replace(&mut begin, (index, events, before));
                turns.push(Whole {
                    lines: from..index,
                    events: first..events,
                    before: older,
                    usage: last.0,
                    files: last.1,
                });
            }
            places.push(player.events.len());
        }
        player.close(recording);
        turns.push(Whole {
            lines: begin.0..recording.lines.len(),
            events: begin.1..player.events.len(),
            before: begin.2,
            usage: player.translator.usage(),
            files: player.translator.files(true).0,
        });
        Self {
            player,
            turns,
            places,
        }
    }
}

/// Tells the rest of a turn of which `first` was told, as the driver does after the sidecar was restarted.
/// OpenCode has stored what the recording's first `lines` say.
fn tell_rest(
    recording: &Recording,
    (turn, lines): (&Whole, usize),
    first: &[Event],
    by_history: bool,
) -> (Translator, Told) {
    let now = recording.lines[lines - 1].at;
    let known = Recording {
        lines: recording.lines[..lines].to_vec(),
        ..recording.clone()
    };
    let store = Store::after(&known.lines);
    let settings = settings(&recording.root);
    let mut translator = Translator::restore(settings, notes(first), turn.before.clone(), now);
    for info in store.subagents() {
        translator.apply_history(info);
    }
    if by_history {
        for item in known.history() {
            translator.apply_history(item);
        }
    }
    translator.apply_missed(Vec::new(), store.list(), now);
    translator.finish(End::Cancelled, true, now);
    let both: Vec<Event> = first.iter().chain(&translator.events).cloned().collect();
    (translator, Told::of(&both))
}

/// Gives the number of cuts that were tried.
fn cut_everywhere(name: &str, by_history: bool) -> usize {
    let recording = Recording::read(name);
    let uncut = Uncut::tell(&recording);
    let mut cuts = 0;
    for turn in &uncut.turns {
        let events = &uncut.player.events[turn.events.clone()];
        let whole = Told::of(events);
        for cut in 0..events.len() {
            let first = &events[..cut];
            if first.last().is_some_and(Event::is_terminal) {
                break;
            }
            cuts += 1;
            let at = format!("{name}, after {cut} events, by history: {by_history}");

            // The agent went on to the end, unheard.
            let end = (turn, turn.lines.end);
            let (translator, told) = tell_rest(&recording, end, first, by_history);
            assert_pairs(&told, &at);
            let mut whole = whole.clone();
            if name == "vi_c_conn_drop" {
                // What a provider cut off has no final form: its piece may be missing, never doubled.
                assert_starts(&told, &whole, &at);
                whole.texts.clone_from(&told.texts);
            }
            assert_eq!(told, whole, "{at}");
            assert_eq!(translator.usage(), turn.usage, "{at}");
            assert_eq!(translator.files(true).0, turn.files, "{at}");

            // The agent died with its listener.
            let event = turn.events.start + cut;
            let heard = uncut.places.partition_point(|events| *events < event) + 1;
            let died = (turn, heard.clamp(turn.lines.start + 1, turn.lines.end));
            let (_, told) = tell_rest(&recording, died, first, by_history);
            assert_pairs(&told, &at);
            assert_starts(&told, &whole, &at);
        }
    }
    cuts
}

/// Every call is told once, and so is its result.
fn assert_pairs(told: &Told, at: &str) {
    let calls: Vec<_> = told
        .calls
        .iter()
        .map(|(call, times)| (call, *times))
        .collect();
    let results: Vec<_> = told
        .results
        .iter()
        .map(|(call, all)| (call, all.len()))
        .collect();
    assert_eq!(calls, results, "{at}");
    assert!(
        calls.iter().all(|(_, times)| *times == 1),
        "{at}: {calls:?}"
    );
}

/// No text is doubled or has a hole.
fn assert_starts(told: &Told, whole: &Told, at: &str) {
    for (part, text) in &told.texts {
        assert!(
            whole.texts[part].starts_with(text),
            "{at}: {part}: {text:?}"
        );
    }
}

#[test]
fn a_turn_cut_anywhere_is_told_to_its_end_without_doubles_and_holes() {
    let mut cuts = 0;
    for name in RECORDINGS {
        cuts += cut_everywhere(name, true);
        cuts += cut_everywhere(name, false);
    }
    assert!(cuts > 1000, "{cuts}");
}

fn restored(notes: &[(&str, u64)], before: Option<&str>) -> Harness {
    let notes = notes
        .iter()
        .map(|(part, value)| ((*part).to_owned(), *value));
    let translator = Translator::restore(
        settings("s"),
        notes.collect(),
        before.map(str::to_owned),
        NOW,
    );
    Harness { translator }
}

#[test]
fn of_a_text_the_rest_is_told_whatever_its_first_words_were() {
    let mut harness = restored(&[("p1", 4), ("p2", 3), ("p3", 99)], None);
    harness.list(&[
        text("p1", "one two", true),
        text("p2", "", false),
        text("p3", "all of it", true),
        text("p4", "new", true),
    ]);
    assert_eq!(harness.lines(), [said("two"), said("new")]);
    harness.list(&[text("p1", "one two", true)]);
    harness.delta("p2", "late");
    assert_eq!(harness.lines(), Vec::<String>::new());
}

#[test]
fn a_call_can_be_closed_though_nobody_can_be_asked_what_it_was() {
    let mut first = harness();
    first.part(&tool(
        "p1",
        "running",
        &json!({ "command": "a" }),
        &json!({ "output": "1" }),
    ));
    let told = notes(&std::mem::take(&mut first.translator.events));
    let told: Vec<(&str, u64)> = told.iter().map(|(part, value)| (&**part, *value)).collect();
    let mut harness = restored(&told, None);
    harness.finish();
    let result = json!({ "tool": "bash", "call_id": "call-p1", "is_error": true, "duration_ms": 0,
        "result": { "error": "the tool was interrupted before it finished" } });
    let lines = harness.lines();
    assert_eq!(lines[0], format!("tool_result {result}"));
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn what_was_printed_before_is_in_the_result_and_not_told_again() {
    let mut harness = restored(&[("p1\ncall-p1\nbash", 1)], None);
    let mut run = tool("p1", "running", &json!({}), &json!({ "output": "1\n" }));
    harness.part(&run);
    assert_eq!(harness.lines(), Vec::<String>::new());
    run["state"]["status"] = "completed".into();
    run["state"]["output"] = "1\n2\n".into();
    run["state"]["metadata"] = json!({ "output": "1\n2\n", "exit": 0 });
    harness.part(&run);
    let lines = harness.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("tool_result") && lines[0].contains(r#""stdout":"1\n2\n""#));
}

#[test]
fn messages_of_earlier_turns_are_not_of_this_one() {
    let step = json!({ "id": "p2", "messageID": "m1", "sessionID": "s", "type": "step-finish", "cost": 0.1,
        "tokens": { "input": 5, "output": 7 } });
    let old = [text("p1", "old", true), step];
    let mut harness = restored(&[], Some("m1"));
    harness.list(&old);
    assert_eq!(harness.lines(), Vec::<String>::new());
    assert_eq!(harness.translator.usage(), Usage::default());
    assert_eq!(harness.translator.newest_message(), Some("m1"));
    let mut harness = restored(&[], Some("m0"));
    harness.list(&old);
    assert_eq!(harness.lines(), [said("old")]);
    assert_eq!(harness.translator.usage().input_tokens, 5);
}
