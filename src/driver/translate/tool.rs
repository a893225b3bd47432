//! Tool calls: one call, its output as it grows, one result.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::output_diff::FinalOutput;
use super::result::{self, INVALID};
use super::signal::Signal;
use super::tool_counts;
use super::tool_run::ToolRun;
use super::translator::{Origin, Part, Translator};
use crate::opencode::types as oc;

// === impl Translator ===

impl Translator {
    /// Takes the state of the tool part `id` as OpenCode stored it at `time`.
    pub(super) fn tool(
        &mut self,
        id: String,
        session: String,
        time: Option<u64>,
        tool: oc::ToolPart,
        origin: Origin,
    ) {
        let mut run = match self.parts.remove(&id) {
            Some(Part::Tool(run)) => run,
            Some(other) => {
                self.parts.insert(id, other);
                return;
            }
            None => Box::new(ToolRun::new(tool.call, self.now)),
        };
        if run.session.is_empty() {
            (run.agent, run.session) = (self.agent(&session), session);
        }
        // An older state is a repetition.
        if time.is_none_or(|time| time >= run.time) {
            run.time = time.unwrap_or(run.time);
            // A list does not say when; its output may be older than what is published.
            let in_order = origin == Origin::Live || time.is_some();
            if self.update_tool(&id, &mut run, &tool.tool, tool.state, in_order) {
                self.parts.insert(id, Part::Done);
                return;
            }
        }
        self.parts.insert(id, Part::Tool(run));
    }

    /// Publishes what is new in `state`. Returns whether the call has ended.
    fn update_tool(
        &mut self,
        id: &str,
        run: &mut ToolRun,
        name: &str,
        mut state: oc::ToolState,
        in_order: bool,
    ) -> bool {
        run.start = run.start.or(state.start);
        if state.status == oc::ToolStatus::Pending {
            return false;
        }
        if !run.is_published() {
            let input = state.input.as_deref().map_or("{}", RawValue::get);
            self.call(id, run, name, input);
        }
        if state.status == oc::ToolStatus::Running {
            if let Some(text) = state.metadata.output
                && in_order
                && !run.restored
            {
                let piece = run.output.advance(text.into_whole());
                self.events.extend(run.printed(piece, self.now));
            }
            return false;
        }
        self.open_tools.retain(|open| open != id);
        if state.status == oc::ToolStatus::Completed {
            self.turn.files.wrote(name, &state);
        }
        let output = state.output.take().map(oc::Text::into_whole);
        let output = FinalOutput::read(&output.unwrap_or_default());
        // Only a command streams; another tool's output is its result.
        if name == "bash"
            && !run.restored
            && let Some(text) = state.metadata.output.take()
        {
            let piece = run.output.settle(text.into_whole(), &output);
            self.events.extend(run.printed(piece, self.now));
        }
        let end = state.end;
        let outcome = result::outcome(name, state, output);
        self.events.push(run.ended(outcome, end, self.now));
        if self.is_root(&run.session) {
            self.turn.progress.tool_ended(&run.call);
        }
        self.end_asks_of(&run.call);
        self.publish_status();
        true
    }

    /// Whether the call with this id has no result yet.
    pub(super) fn is_open(&self, call: &str) -> bool {
        let is_call =
            |id: &String| matches!(self.parts.get(id), Some(Part::Tool(run)) if *run.call == *call);
        self.open_tools.iter().any(is_call)
    }

    fn call(&mut self, id: &str, run: &mut ToolRun, name: &str, input: &str) {
        let (tool, args) = requested(name, input);
        self.events.push(run.called(id, &tool, args, self.now));
        self.open_tools.push(id.to_owned());
        if self.is_root(&run.session) {
            let progress = &mut self.turn.progress;
            progress.tool_began(run.call.clone(), run.tool.clone());
            self.publish_status();
        }
        let Some(session) = self.sessions.get_mut(&run.session) else {
            return;
        };
        let mut hasher = DefaultHasher::new();
        (&*tool, args).hash(&mut hasher);
        let hash = hasher.finish();
        let times = match session.last_call {
            Some((last, times)) if last == hash => times + 1,
            _ => 1,
        };
        session.last_call = Some((hash, times));
        let limit = self.settings.loop_limit;
        tool_counts::count(&mut self.turn.tool_counts, &run.tool, times, limit);
        if times == self.settings.loop_limit {
            let tool = run.tool.clone();
            self.signals.push(Signal::ToolRepeated { tool, times });
        }
    }

    /// A call whose result another process published: only the files it changed count.
    pub(super) fn learn_files(&mut self, id: String, tool: &oc::ToolPart) {
        if tool.state.status == oc::ToolStatus::Completed {
            self.turn.files.wrote(&tool.tool, &tool.state);
            self.parts.insert(id, Part::Done);
        }
    }

    /// Gives every open call a result, because the turn ends or its process is gone.
    pub(super) fn interrupt_tools(&mut self) {
        for id in std::mem::take(&mut self.open_tools) {
            if let Some(Part::Tool(run)) = self.parts.insert(id, Part::Done) {
                self.events.push(run.interrupted(self.now));
            }
        }
        self.turn.progress.tools_ended();
    }
}

/// The tool that the model asked for, and with what. [`INVALID`] stands for one that does not exist; what the
/// model wrote for that is not known here.
pub(in crate::driver) fn requested<'a>(name: &'a str, input: &'a str) -> (Cow<'a, str>, &'a str) {
    #[derive(Deserialize)]
    struct Invalid {
        tool: String,
    }
    if name != INVALID {
        return (name.into(), input);
    }
    let tool = serde_json::from_str(input).map(|Invalid { tool }| tool.into());
    (tool.unwrap_or(name.into()), "{}")
}
