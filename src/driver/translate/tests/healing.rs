//! Lost connections, repeated events: a client must see neither gaps nor repetitions.

use proptest::prelude::*;

use crate::driver::translate::Signal;
use crate::event::Body;

use super::RECORDINGS;
use super::replay::{Player, Recording, frames, run};

/// What a client may not see change, whatever was lost.
#[derive(Debug, PartialEq)]
struct Seen {
    texts: std::collections::BTreeMap<(String, String), String>,
    calls: Vec<String>,
    results: Vec<String>,
    ends: Vec<&'static str>,
    completes: Vec<String>,
}

fn seen(player: &Player) -> Seen {
    let kinds = |kind: &str| {
        let of_kind = player.events.iter().filter(|event| event.kind() == kind);
        let mut ids: Vec<String> = of_kind
            .filter_map(|event| match &event.body {
                Body::ToolCall(call) => Some(format!("{} {}", call.call_id, call.args)),
                Body::ToolResult(result) => Some(format!("{} {:?}", result.call_id, result.result)),
                Body::Complete(complete) => Some(format!(
                    "{} {:?} {:?}",
                    complete.final_message, complete.files_modified, complete.usage
                )),
                _ => None,
            })
            .collect();
        ids.sort();
        ids
    };
    let ends = player.events.iter().filter(|event| event.is_terminal());
    Seen {
        texts: player.texts().into_iter().collect(),
        calls: kinds("tool_call"),
        results: kinds("tool_result"),
        ends: ends.map(crate::event::Event::kind).collect(),
        completes: kinds("complete"),
    }
}

/// All that was durable in the first `lines`, from the beginning: what is known is skipped.
fn recall(player: &mut Player, recording: &Recording, lines: usize) {
    let before = Recording {
        lines: recording.lines[..lines].to_vec(),
        ..recording.clone()
    };
    let now = recording.lines[lines - 1].at;
    for item in before.history() {
        player.notice(&item.event, now);
        player.translator.apply_missed(vec![item], Vec::new(), now);
        player.take();
    }
}

/// Loses the lines in `lost`, and heals as the driver does after it has connected again.
fn play_with_loss(recording: &Recording, lost: std::ops::Range<usize>) -> Player {
    let mut player = Player::new(recording);
    for line in &recording.lines[..lost.start] {
        player.frame(line.json.as_bytes(), line.at);
    }
    let now = recording.lines[lost.end - 1].at;
    player.translator.feed_lost();
    recall(&mut player, recording, lost.end);
    let before = Recording {
        lines: recording.lines[..lost.end].to_vec(),
        ..recording.clone()
    };
    player.reread_status(&before, now);
    let mut known = player.signals.len();
    for (index, line) in recording.lines.iter().enumerate().skip(lost.end) {
        player.frame(line.json.as_bytes(), line.at);
        let gap = |signal: &Signal| matches!(signal, Signal::SequenceGap { .. });
        if player.signals[known..].iter().any(gap) {
            recall(&mut player, recording, index + 1);
        }
        known = player.signals.len();
    }
    player.close(recording);
    player
}

/// Whether `part` is `whole` with some characters left out.
fn is_subsequence(part: &str, whole: &str) -> bool {
    let mut whole = whole.chars();
    part.chars()
        .all(|wanted| whole.any(|character| character == wanted))
}

/// Those whose history is whole and which are one turn.
fn healable() -> impl Strategy<Value = &'static str> {
    let without = ["cap_tenmb", "cap_two_turns", "viii_compaction_auto"];
    let names: Vec<_> = RECORDINGS
        .iter()
        .copied()
        .filter(|name| !without.contains(name))
        .collect();
    prop::sample::select(names)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_lost_connection_is_healed(name in healable(), from in 0.0..1.0_f64, length in 0.0..1.0_f64) {
        let recording = Recording::read(name);
        let lines = recording.lines.len();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
            reason = "a random place")]
        let place = |share: f64, of: usize| (share * of as f64) as usize;
        let from = place(from, lines);
        let to = (from + 1 + place(length, lines - from)).min(lines);
        let whole = seen(&run(&recording));
        let healed = seen(&play_with_loss(&recording, from..to));
        if name == "vi_c_conn_drop" {
            // The text of a call that the provider cut off has no final form: a piece may be missing.
            for (key, text) in &healed.texts {
                prop_assert!(is_subsequence(text, &whole.texts[key]), "{} {}..{} {:?}", name, from, to, text);
            }
            prop_assert_eq!(&healed.completes, &whole.completes);
        } else {
            prop_assert_eq!(&healed, &whole, "{} {}..{}", name, from, to);
        }
    }

    #[test]
    fn any_split_of_the_bytes_is_the_same_stream(
        name in prop::sample::select(RECORDINGS),
        sizes in prop::collection::vec(1_usize..20_000, 1..40),
    ) {
        let recording = Recording::read(name);
        let lines: Vec<_> = recording.lines.iter().map(|line| line.json.as_bytes().to_vec()).collect();
        prop_assert_eq!(frames(recording.stream().as_bytes(), &sizes), lines);
    }
}

#[test]
fn one_byte_at_a_time_is_the_same_stream() {
    let recording = Recording::read("cap_emoji");
    let lines: Vec<_> = recording
        .lines
        .iter()
        .map(|line| line.json.clone().into_bytes())
        .collect();
    assert_eq!(frames(recording.stream().as_bytes(), &[1]), lines);
}

#[test]
fn the_whole_history_again_publishes_nothing() {
    for name in RECORDINGS {
        let recording = Recording::read(name);
        let mut player = run(&recording);
        let now = recording.lines.last().unwrap().at;
        // In a new turn, so that everything would be published.
        player.translator.begin_turn(now);
        player.translator.events.clear();
        for item in recording.history() {
            player.translator.apply(item.event, now);
        }
        let events = player.translator.events.iter();
        let repeated: Vec<_> = events.map(crate::event::Event::kind).collect();
        // A compaction phase is a status of the turn that is replayed into; it is no repetition.
        assert!(
            repeated.iter().all(|kind| *kind == "status"),
            "{name}: {repeated:?}"
        );
    }
}

#[test]
fn the_published_text_is_the_stored_text() {
    for name in RECORDINGS {
        let recording = Recording::read(name);
        let player = run(&recording);
        assert!(
            !player.signals.iter().any(|signal| matches!(
                signal,
                Signal::TextDiverged { .. } | Signal::SequenceGap { .. }
            )),
            "{name}"
        );
    }
}
