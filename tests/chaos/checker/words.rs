//! The model numbers its words, `[answer.word]`, so a word that is doubled, missing or in the wrong place
//! is seen whatever pieces the text came in.

use std::collections::HashSet;

use super::turns::number;
use super::{Evidence, Faults, Frame, Texts};

/// What a text says, answer by answer: how many words of each came, in order of appearance.
pub(super) type Heard = Vec<(u32, u32)>;

pub(super) fn check(evidence: &Evidence, replay: &[Frame], faults: &mut Faults) {
    let (mut said, mut thought) = (String::new(), String::new());
    let (mut printed, mut last) = (Texts::new(), 0);
    // OpenCode stores a call before the end of the text before it, so a kill of both processes may cost words of that.
    let is_end = |frame: &&Frame| frame.kind == "error" && frame.is_terminal();
    let ended: HashSet<u64> = replay.iter().filter(is_end).map(number).collect();
    let is_cut = |frame: &&Frame| {
        let failed = frame.kind == "tool_result" && frame.data["is_error"] == true;
        failed && ended.contains(&number(frame))
    };
    let cut: HashSet<&str> = replay
        .iter()
        .filter(is_cut)
        .map(|frame| frame.text("call_id"))
        .collect();
    for frame in replay {
        let text = frame.text("text");
        match (frame.kind.as_str(), frame.text("source")) {
            ("output", "assistant") => said.push_str(text),
            ("output", "reasoning") => thought.push_str(text),
            ("output", "tool") => printed
                .entry(frame.text("call_id"))
                .or_default()
                .push_str(text),
            ("tool_call", _) => {
                let answer = of_answer(&frame.data["args"].to_string());
                if !cut.contains(frame.text("call_id")) {
                    whole(&said, answer, evidence.words, "a tool is called", faults);
                }
                if answer <= last {
                    faults.add(
                        "words",
                        format!("a tool of answer {answer} is called behind one of {last}"),
                    );
                }
                last = answer;
            }
            ("tool_result", _) => result(evidence, frame, &printed, faults),
            ("complete", _) => {
                let last = heard(&said).ok().and_then(|heard| heard.last().copied());
                let answer = last.map_or(0, |(answer, _)| answer);
                whole(
                    &said,
                    answer,
                    evidence.words,
                    "the turn is complete",
                    faults,
                );
                let all = Ok(vec![(answer, evidence.words)]);
                if heard(frame.text("final_message")) != all {
                    faults.add(
                        "words",
                        format!(
                            "the final message of answer {answer} is {:?}",
                            frame.text("final_message")
                        ),
                    );
                }
            }
            _ => {}
        }
    }
    for (what, text, most) in [
        ("said", &said, evidence.words),
        ("thought", &thought, evidence.thoughts),
    ] {
        match heard(text) {
            Err(fault) => faults.add("words", format!("what the model {what}: {fault}")),
            Ok(heard) => {
                let cut = heard.iter().find(|(_, count)| *count != most);
                if let (Some((answer, count)), false) =
                    (cut, evidence.allowed.broken || evidence.allowed.cancelled)
                {
                    faults.add(
                        "words",
                        format!("answer {answer} has {count} of {most} words {what}"),
                    );
                }
            }
        }
    }
}

/// What a command printed is told from its first line on; its result has all of it.
fn result(evidence: &Evidence, frame: &Frame, printed: &Texts<'_>, faults: &mut Faults) {
    if frame.text("tool") != "bash" {
        return;
    }
    let live = printed
        .get(frame.text("call_id"))
        .map_or("", String::as_str);
    let all = frame.data["result"]["stdout"].as_str().unwrap_or_default();
    for text in [live, all] {
        match heard(text) {
            Ok(heard) if heard.len() <= 1 => {}
            other => faults.add("words", format!("a command printed {text:?}: {other:?}")),
        }
    }
    let whole = heard(all).is_ok_and(|heard| {
        heard.len() == 1 && heard.iter().all(|(_, lines)| *lines == evidence.lines)
    });
    let well = frame.data["is_error"] == false && frame.data["result"]["exit_code"] == 0;
    if well && !whole {
        faults.add(
            "words",
            format!("a command that ended well printed {all:?}"),
        );
    }
}

/// Nothing of an answer may come behind what follows it.
fn whole(said: &str, answer: u32, count: u32, when: &str, faults: &mut Faults) {
    let heard = heard(said).unwrap_or_default();
    let got = heard
        .iter()
        .find(|(known, _)| *known == answer)
        .map_or(0, |(_, got)| *got);
    if got != count {
        faults.add(
            "words",
            format!("{when} after {got} of {count} words of answer {answer}"),
        );
    }
}

/// `… of-answer-7 …`
fn of_answer(text: &str) -> u32 {
    let after = text.split("of-answer-").nth(1).unwrap_or_default();
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// An answer's words come in order and without a hole, and once another answer has begun it is over. Only
/// the last piece of an answer may be cut.
pub(super) fn heard(text: &str) -> Result<Heard, String> {
    let mut heard = Heard::new();
    let mut cut = false;
    let mut words = text.split('[');
    let stray = words.next().unwrap_or_default();
    if !stray.trim().is_empty() {
        return Err(format!("it begins with {stray:?}"));
    }
    for word in words {
        let Some((answer, number)) = whole_word(word)? else {
            cut = true;
            continue;
        };
        let last = heard.last().copied();
        if last.is_some_and(|(known, count)| known == answer && count + 1 == number) && !cut {
            heard.pop();
        } else if number != 1 || heard.iter().any(|(known, _)| *known >= answer) {
            let cut = if cut { " and a cut word" } else { "" };
            return Err(format!("[{answer}.{number}] follows {last:?}{cut}"));
        }
        heard.push((answer, number));
        cut = false;
    }
    Ok(heard)
}

/// What stands behind a bracket: `3.1] `, or nothing if it is cut.
fn whole_word(word: &str) -> Result<Option<(u32, u32)>, String> {
    let parse = |inner: &str| {
        let (answer, number) = inner.split_once('.')?;
        Some((answer.parse().ok()?, number.parse().ok()?))
    };
    match word.split_once(']') {
        Some((inner, behind)) if behind.trim().is_empty() => parse(inner)
            .map(Some)
            .ok_or_else(|| format!("[{word} is no word")),
        None if word.chars().all(|c| c.is_ascii_digit() || c == '.') => Ok(None),
        _ => Err(format!("[{word:?} is no word")),
    }
}
