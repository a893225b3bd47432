//! Chat completions: chunks with `choices`, an end that is a `finish_reason`, then `[DONE]`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::delta::{Delta, Kind};
use super::fault::{FOREIGN, SAME_INDEX, UNNAMED_CALL};
use super::seen::{Finish, Seen};
use super::step::{Ending, Step};

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    created: Option<&'a RawValue>,
    /// Noise by which OpenAI hides how long the text is; Mistral's is `p`.
    #[serde(borrow, default)]
    obfuscation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    p: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<ChoiceDelta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ChoiceDelta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize, Default)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

pub(super) fn event<'a>(json: &'a [u8], seen: &mut Seen) -> Step<'a> {
    let Ok(chunk) = serde_json::from_slice::<Chunk<'a>>(json) else {
        return Step::Bad(FOREIGN);
    };
    seen.count(chunk.usage);
    if chunk.error.is_some() {
        return Step::Failed;
    }
    let Some(choices) = chunk.choices else {
        return Step::Bad(FOREIGN);
    };
    // The child's client reads the first only.
    let Some(choice) = choices.into_iter().next() else {
        return Step::Pass;
    };
    if let Some(reason) = choice.finish_reason.as_deref() {
        seen.finish = Some(finish(reason));
    }
    let Some(delta) = choice.delta else {
        return Step::Pass;
    };
    let reasoning = delta.reasoning_content.or(delta.reasoning);
    let is_string = |raw: &RawValue| raw.get().starts_with('"');
    if ![delta.content, reasoning]
        .into_iter()
        .flatten()
        .all(is_string)
    {
        return Step::Bad(FOREIGN);
    }
    let calls = delta.tool_calls.unwrap_or_default();
    let several_calls = calls.len() > 1;
    let known_calls = seen.calls.len();
    let mut said = Vec::new();
    for call in calls {
        match tool_call(call, seen) {
            Ok(piece) => said.extend(piece.map(|piece| (Kind::Arguments, piece))),
            Err(why) => return Step::Bad(why),
        }
    }
    said.extend(seen.reasoned(reasoning).map(|piece| (Kind::Text, piece)));
    said.extend(seen.said(delta.content).map(|piece| (Kind::Text, piece)));
    match *said {
        // An event that also ends the answer, or opens a call, says more than its text.
        [(kind, text)]
            if choice.finish_reason.is_none()
                && !several_calls
                && seen.calls.len() == known_calls =>
        {
            Step::Delta(Delta {
                kind,
                text,
                varying: [chunk.created, chunk.usage, chunk.obfuscation, chunk.p],
            })
        }
        _ => Step::Pass,
    }
}

/// The piece of its arguments that a call already known brings.
fn tool_call<'a>(
    call: ToolCall<'a>,
    seen: &mut Seen,
) -> Result<Option<&'a RawValue>, &'static str> {
    let next = u64::try_from(seen.calls.len()).unwrap_or(u64::MAX);
    let index = call.index.unwrap_or(next);
    let function = call.function.unwrap_or_default();
    let id = call.id.filter(|id| !id.is_empty());
    let known = seen.calls.get(&index);
    let is_known = known.is_some();
    match (known, id) {
        (Some(known), Some(id)) if id != known.id => return Err(SAME_INDEX),
        (Some(_), _) => {}
        (None, id) => {
            let name = function.name.filter(|name| !name.is_empty());
            let (Some(id), Some(name)) = (id, name) else {
                return Err(UNNAMED_CALL);
            };
            seen.call(index, &id, &name);
        }
    }
    let Some(arguments) = function.arguments else {
        return Ok(None);
    };
    let piece: Cow<'_, str> = serde_json::from_str(arguments.get()).map_err(|_| FOREIGN)?;
    seen.argued(index, &piece);
    if let Some(call) = seen.calls.get_mut(&index) {
        call.whole = call.nesting.is_whole();
    }
    Ok(Some(arguments).filter(|_| is_known && !piece.is_empty()))
}

/// The client takes the last reason it hears, also after `[DONE]`.
pub(super) fn end(seen: &Seen) -> Ending {
    // A reason that is known is believed, whatever the arguments look like.
    let known = matches!(seen.finish, Some(Finish::Stop | Finish::Calls));
    let reason = match seen.ending(!known && seen.has_cut_call()) {
        Ok(None) => return Ending::Whole,
        Ok(Some(Finish::Calls)) => "tool_calls",
        Ok(Some(_)) => "stop",
        Err(why) => return Ending::Bad(why),
    };
    let chunk = serde_json::json!({
        "id": "mended", "object": "chat.completion.chunk", "created": 0, "model": "",
        "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }],
    });
    Ending::Mended(format!("data: {chunk}\n\ndata: [DONE]\n\n"))
}

fn finish(reason: &str) -> Finish {
    match reason {
        "stop" => Finish::Stop,
        "tool_calls" | "function_call" => Finish::Calls,
        "length" | "content_filter" => Finish::Limited,
        _ => Finish::Unknown,
    }
}
