//! Events of an OpenCode we do not know: nothing may panic, and nothing too large or broken get out.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::driver::translate::{End, Settings, Translator};
use crate::event::MAX_DATA;
use crate::opencode::types as oc;

use super::RECORDINGS;
use super::replay::Recording;

/// A value that does not belong where it is put.
fn foreign() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(-1)),
        Just(json!(u64::MAX)),
        Just(json!(1.5)),
        Just(json!("")),
        Just(json!([{}])),
        Just(json!({"a": []})),
        Just(json!("...\n\n")),
        "\\PC{0,12}".prop_map(Value::from),
        Just(Value::from(format!("...\n\n{}", "é".repeat(15_000)))),
    ]
}

/// Puts `new` in the place of the value that is `at`-th in the tree, or removes it.
fn replace(value: &mut Value, at: &mut usize, new: &mut Option<Value>) {
    if *at == 0 {
        if let Some(new) = new.take() {
            *value = new;
        }
        return;
    }
    *at -= 1;
    match value {
        Value::Array(items) => {
            for item in items {
                replace(item, at, new);
            }
        }
        Value::Object(fields) => {
            for field in fields.values_mut() {
                replace(field, at, new);
            }
        }
        _ => {}
    }
}

fn translator(recording: &Recording) -> Translator {
    let settings = Settings {
        root: recording.root.clone(),
        directory: "/workspace".into(),
        loop_limit: 0,
    };
    Translator::new(settings, None)
}

/// Plays frames, readable or not, and ends the turn; gives the number of terminal events.
fn play(recording: &Recording, frames: &[Vec<u8>]) -> usize {
    let mut translator = translator(recording);
    let now = recording.lines[0].at;
    translator.begin_turn(now);
    for frame in frames {
        if let Ok(event) = oc::decode(frame) {
            translator.apply(event, now);
        }
    }
    translator.finish(End::Cancelled, true, now);
    translator.finish(End::Cancelled, true, now);
    for encoded in translator.events.iter().flat_map(|event| event.encode(1)) {
        assert!(encoded.data.len() <= MAX_DATA);
        assert!(!encoded.data.contains('\n'));
        assert!(
            serde_json::from_str::<Value>(&encoded.data)
                .unwrap()
                .is_object()
        );
    }
    translator
        .events
        .iter()
        .filter(|event| event.is_terminal())
        .count()
}

/// Small ones, so that many cases fit.
fn small() -> impl Strategy<Value = &'static str> {
    let large = ["cap_tenmb", "cap_slide", "cap_big", "cap_oneline"];
    let names: Vec<_> = RECORDINGS
        .iter()
        .copied()
        .filter(|name| !large.contains(name))
        .collect();
    prop::sample::select(names)
}

proptest! {
    #[test]
    fn foreign_values_do_no_harm(
        name in small(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..60, foreign()), 1..30),
    ) {
        let recording = Recording::read(name);
        let mut frames: Vec<_> =
            recording.lines.iter().map(|line| line.json.as_bytes().to_vec()).collect();
        for (index, mut at, new) in changes {
            let frame: &mut Vec<u8> = index.get_mut(&mut frames);
            // A second change of the same line may find it unreadable to a strict parser.
            if let Ok(mut value) = serde_json::from_slice::<Value>(frame) {
                replace(&mut value, &mut at, &mut Some(new));
                *frame = serde_json::to_vec(&value).unwrap();
            }
        }
        prop_assert_eq!(play(&recording, &frames), 1);
    }

    #[test]
    fn broken_bytes_do_no_harm(
        name in small(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..30),
    ) {
        let recording = Recording::read(name);
        let mut frames: Vec<_> =
            recording.lines.iter().map(|line| line.json.as_bytes().to_vec()).collect();
        for (index, place, byte) in changes {
            let frame: &mut Vec<u8> = index.get_mut(&mut frames);
            *place.get_mut(frame.as_mut_slice()) = byte;
        }
        prop_assert_eq!(play(&recording, &frames), 1);
    }

    #[test]
    fn lines_in_any_order_do_no_harm(name in small(), order in any::<prop::sample::Index>(), seed in any::<u64>()) {
        let recording = Recording::read(name);
        let mut frames: Vec<_> =
            recording.lines.iter().map(|line| line.json.as_bytes().to_vec()).collect();
        let start = order.index(frames.len());
        frames.rotate_left(start);
        frames.sort_by_key(|frame| (frame.len() as u64).wrapping_mul(seed | 1) >> 60);
        prop_assert_eq!(play(&recording, &frames), 1);
    }
}
