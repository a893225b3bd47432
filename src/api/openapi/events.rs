//! The data of each type of event, as the API description has it: the fields of the published type, and
//! those that every event of a log has.

#![expect(dead_code, reason = "described, never built")]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::marker::PhantomData;

use utoipa::openapi::schema::{AllOf, Object, OneOf, Schema};
use utoipa::openapi::{ObjectBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::clock::Timestamp;
use crate::event::{
    Agent, Complete, Egress, Failure, Output, Permission, PromptNote, Question, Status, Todo,
    ToolCall, ToolResult,
};
use crate::session::log::GapReason;

// The derive below takes a type with parameters apart, and needs each by a name of its own.
type StatusData = Data<Status>;
type OutputData = Data<Output>;
type ToolCallData = Data<ToolCall>;
type ToolResultData = Data<ToolResult>;
type FailureData = Data<Failure>;
type CompleteData = Data<Complete>;
type PermissionData = Data<Permission>;
type QuestionData = Data<Question>;
type TodoData = Data<Todo>;
type PromptData = Data<PromptNote>;
type EgressData = Data<Egress>;

/// One property for each type of event: what its `data:` line holds.
#[derive(ToSchema)]
pub(super) struct Events {
    status: StatusData,
    output: OutputData,
    tool_call: ToolCallData,
    tool_result: ToolResultData,
    error: FailureData,
    complete: CompleteData,
    permission: PermissionData,
    question: QuestionData,
    todo: TodoData,
    prompt: PromptData,
    egress: EgressData,
    heartbeat: HeartbeatEvent,
    gap: GapEvent,
}

/// One event as it is on the wire.
#[derive(ToSchema)]
pub(in crate::api) struct StreamEvent {
    /// The type: a property of `Events`.
    event: Option<String>,
    /// `<epoch>-<number>`; the cursor from here on. Not with `heartbeat` and `gap`.
    id: Option<String>,
    /// One line of JSON: that property's value.
    data: Option<String>,
    /// Milliseconds after which a client whose connection broke comes back.
    retry: Option<u64>,
}

/// The fields that every event of a log has besides those of its type.
#[derive(ToSchema)]
struct Common {
    /// The subagent it happened in; absent for the session's own agent.
    agent: Option<Agent>,
    /// Something was too long and is not here whole.
    truncated: Option<bool>,
    /// The number of the turn it belongs to: 1 for the first prompt of the session.
    #[schema(minimum = 1)]
    turn: u32,
    timestamp: Timestamp,
}

/// 15 s of silence. Without an id.
#[derive(ToSchema)]
struct HeartbeatEvent {}

/// Events are missing. Without an id.
#[derive(ToSchema)]
struct GapEvent {
    reason: GapReason,
    requested: String,
    /// The stream goes on after this event.
    resume_after: String,
    /// Null when nobody knows.
    missed: Option<u64>,
}

/// The whole data of an event whose own fields are those of `T`.
struct Data<T>(PhantomData<T>);

// === impl Data ===

impl<T: ToSchema> PartialSchema for Data<T> {
    fn schema() -> RefOr<Schema> {
        let description = description(&T::schema());
        let mut object = flat(T::schema());
        let common = flat(Common::schema());
        for (name, property) in common.properties {
            // A type that says more about a field keeps its own words.
            object.properties.entry(name).or_insert(property);
        }
        object.required.extend(common.required);
        object.description = description;
        object.into()
    }
}

impl<T: ToSchema> ToSchema for Data<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Event", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
        Common::schemas(schemas);
    }
}

fn description(schema: &RefOr<Schema>) -> Option<String> {
    match schema {
        RefOr::T(Schema::Object(object)) => object.description.clone(),
        RefOr::T(Schema::AllOf(all)) => all.description.clone(),
        _ => None,
    }
}

/// One object with every field that `schema` may have. Required are those that each alternative requires.
///
/// Flattened enums become alternatives; clients read one list of fields more easily.
fn flat(schema: RefOr<Schema>) -> Object {
    match schema {
        RefOr::T(Schema::Object(object)) => object,
        RefOr::T(Schema::AllOf(AllOf { items, .. })) => merged(items, |a, b| a | b),
        RefOr::T(Schema::OneOf(OneOf { items, .. })) => merged(items, |a, b| a & b),
        _ => ObjectBuilder::new().build(),
    }
}

fn merged(
    items: Vec<RefOr<Schema>>,
    required: impl Fn(&BTreeSet<String>, &BTreeSet<String>) -> BTreeSet<String>,
) -> Object {
    let of = |object: &Object| object.required.iter().cloned().collect::<BTreeSet<_>>();
    let mut objects = items.into_iter().map(flat);
    let mut whole = objects.next().unwrap_or_default();
    for object in objects {
        whole.required = required(&of(&whole), &of(&object)).into_iter().collect();
        for (name, property) in object.properties {
            whole.properties.entry(name).or_insert(property);
        }
    }
    whole
}
