//! What of a turn is under way: tools, subagents, its phase. Pure: events in, spans out.

use std::collections::HashMap;
use std::sync::Arc;

use super::content;
use super::context::{SpanId, TraceContext};
use super::span::{Kind, Span, SpanEvent, Value, of_timestamp};
use crate::event::{
    Agent, Body, Event, PermissionStep, Phase, QuestionStep, ResultBody, ToolCall, ToolResult,
};

/// More calls, subagents or notes of one turn are not kept.
const MOST: usize = 512;

/// How OpenCode's tool is called that runs a subagent.
const TASK: &str = "task";

#[derive(Debug)]
pub(super) struct Open {
    context: TraceContext,
    /// The session's id, which every span has.
    conversation: String,
    /// Whether what was said is a part of the spans.
    tells_content: bool,
    calls: HashMap<Arc<str>, OpenCall>,
    agents: HashMap<String, OpenAgent>,
    /// Why it does not simply work, and since when.
    phase: Option<(Phase, u64)>,
    /// What happened to the turn as a whole.
    pub(super) notes: Vec<SpanEvent>,
}

#[derive(Debug)]
struct OpenCall {
    tool: Arc<str>,
    /// The subagent that called it.
    agent: Option<String>,
    start: u64,
    arguments: Option<String>,
    /// The subagent that it runs, once that has said something.
    runs: Option<String>,
}

#[derive(Debug)]
struct OpenAgent {
    name: Option<String>,
    parent: Option<SpanId>,
    start: u64,
    /// When something was last heard of it.
    end: u64,
}

// === impl Open ===

impl Open {
    pub(super) fn new(context: TraceContext, conversation: &str, tells_content: bool) -> Self {
        Self {
            context,
            conversation: conversation.to_owned(),
            tells_content,
            calls: HashMap::new(),
            agents: HashMap::new(),
            phase: None,
            notes: Vec::new(),
        }
    }

    /// What `event` ends.
    pub(super) fn apply(&mut self, event: &Event) -> Option<Span> {
        let at = of_timestamp(event.at);
        if let Some(agent) = &event.agent {
            self.heard_of(agent, at);
        }
        match &event.body {
            Body::ToolCall(call) => self.begin_call(call, event.agent.as_deref(), at),
            Body::ToolResult(result) => return self.end_call(result, at),
            Body::Status(status) if status.phase != self.phase.map(|(phase, _)| phase) => {
                let ended = self.end_phase(at);
                self.phase = status.phase.map(|phase| (phase, at));
                return ended;
            }
            Body::Error(failure) if !failure.fatal => {
                let code = Value::from(failure.code.as_str());
                self.note(at, "error", vec![("error.type", code)]);
            }
            Body::Permission(permission) => {
                let name = match &permission.step {
                    PermissionStep::Asked { .. } => "permission.asked",
                    PermissionStep::Answered { .. } => "permission.answered",
                    PermissionStep::Withdrawn { .. } => "permission.withdrawn",
                };
                self.note(at, name, Vec::new());
            }
            Body::Question(question) => {
                let name = match &question.step {
                    QuestionStep::Asked { .. } => "question.asked",
                    QuestionStep::Answered { .. } | QuestionStep::Rejected { .. } => {
                        "question.answered"
                    }
                    QuestionStep::Withdrawn { .. } => "question.withdrawn",
                };
                self.note(at, name, Vec::new());
            }
            _ => {}
        }
        None
    }

    fn note(&mut self, at: u64, name: &'static str, attributes: Vec<(&'static str, Value)>) {
        if self.notes.len() < MOST {
            self.notes.push(SpanEvent {
                at,
                name,
                attributes,
            });
        }
    }

    /// What the turn waited for, or did beside its work, is a span of its own.
    fn end_phase(&mut self, end: u64) -> Option<Span> {
        let (phase, start) = self.phase.take()?;
        let (context, parent) = (self.context.child()?, self.context.span);
        let (name, times) = (phase.as_str(), (start, end));
        let span = Span::new(context, Some(parent), name, Kind::Internal, times);
        Some(span.with("gen_ai.conversation.id", &*self.conversation))
    }

    fn begin_call(&mut self, call: &ToolCall, agent: Option<&Agent>, at: u64) {
        if self.calls.len() >= MOST {
            return;
        }
        let open = OpenCall {
            tool: Arc::clone(&call.tool),
            agent: agent.map(|agent| agent.id.clone()),
            start: at,
            arguments: self.tells_content.then(|| content::text(call.args.get())),
            runs: None,
        };
        self.calls.insert(Arc::clone(&call.call_id), open);
    }

    fn end_call(&mut self, result: &ToolResult, at: u64) -> Option<Span> {
        let call = self.calls.remove(&result.call_id)?;
        if let Some(agent) = call.runs.as_ref().and_then(|id| self.agents.get_mut(id)) {
            agent.end = agent.end.max(at);
        }
        let said = self
            .tells_content
            .then(|| content::text(&said(&result.result)));
        let error = result.is_error.then_some("tool_error");
        let span = self.call_span(&result.call_id, &call, at);
        Some(
            span.with_some("gen_ai.tool.call.result", said)
                .failed(error),
        )
    }

    fn call_span(&self, id: &str, call: &OpenCall, end: u64) -> Span {
        let name = format!("execute_tool {}", call.tool);
        let parent = self.span_of(call.agent.as_deref());
        let context = self.context.named("tool", id);
        Span::new(
            context,
            Some(parent),
            name,
            Kind::Internal,
            (call.start, end),
        )
        .with("gen_ai.operation.name", "execute_tool")
        .with("gen_ai.conversation.id", &*self.conversation)
        .with("gen_ai.tool.name", &*call.tool)
        .with("gen_ai.tool.call.id", id)
        .with("gen_ai.tool.type", "function")
        .with_some("gen_ai.tool.call.arguments", call.arguments.as_deref())
    }

    /// The span of a subagent, or of the session's own agent.
    pub(super) fn span_of(&self, agent: Option<&str>) -> SpanId {
        match agent {
            Some(agent) => self.context.named("agent", agent).span,
            None => self.context.span,
        }
    }

    /// A subagent calls a model; its first event may come later.
    pub(super) fn heard_of_caller(&mut self, id: &str, at: u64) {
        if self.agents.len() < MOST {
            let heard = self.agents.entry(id.to_owned()).or_insert(OpenAgent {
                name: None,
                parent: None,
                start: at,
                end: at,
            });
            heard.end = heard.end.max(at);
        }
    }

    fn heard_of(&mut self, agent: &Agent, at: u64) {
        self.heard_of_caller(&agent.id, at);
        let parent_agent = self.agents.contains_key(&agent.parent);
        let caller = parent_agent.then_some(&agent.parent);
        let Some(heard) = self.agents.get_mut(&agent.id) else {
            return;
        };
        // Its output comes thousands of times, and what runs it is looked for once.
        if heard.name.is_some() {
            return;
        }
        heard.name = Some(agent.name.clone());
        // The call that runs it: the first of its parent's that no other subagent has taken.
        let calls = self.calls.iter_mut().filter(|(_, call)| {
            &*call.tool == TASK && call.agent.as_ref() == caller && call.runs.is_none()
        });
        let call = calls.min_by_key(|(_, call)| call.start);
        heard.parent = Some(match call {
            Some((id, call)) => {
                call.runs = Some(agent.id.clone());
                self.context.named("tool", id).span
            }
            None => match caller {
                Some(id) => self.context.named("agent", id).span,
                None => self.context.span,
            },
        });
    }

    /// The turn is over: what never ended ends with it, and the subagents are told.
    pub(super) fn finish(&mut self, end: u64) -> Vec<Span> {
        let calls = std::mem::take(&mut self.calls);
        let unended = calls
            .iter()
            .map(|(id, call)| self.call_span(id, call, end).failed(Some("not_finished")));
        let mut spans: Vec<Span> = unended.collect();
        spans.extend(self.end_phase(end));
        for (id, agent) in std::mem::take(&mut self.agents) {
            let name = agent.name.as_deref().unwrap_or("subagent");
            let parent = agent.parent.unwrap_or(self.context.span);
            let context = self.context.named("agent", &id);
            let times = (agent.start, agent.end);
            let title = format!("invoke_agent {name}");
            spans.push(
                Span::new(context, Some(parent), title, Kind::Internal, times)
                    .with("gen_ai.operation.name", "invoke_agent")
                    .with("gen_ai.conversation.id", &*self.conversation)
                    .with("gen_ai.agent.name", name)
                    .with("gen_ai.agent.id", id),
            );
        }
        spans
    }
}

/// The words of a result.
fn said(result: &ResultBody) -> String {
    serde_json::to_string(result).unwrap_or_default()
}
