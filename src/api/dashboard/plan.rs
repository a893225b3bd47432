//! `GET /api/tasks`, `/api/tasks/history`, `/api/tasks/{id}`, `/api/governance`: the project's own plan.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::project::ProjectDir;
use crate::api::Shared;
use crate::api::error::{ApiError, ErrorCode, error_responses};
use crate::api::extract::Id;
use crate::idumb::{self, Governance, Plan, TaskStatus};

/// What idumb takes where its configuration says nothing.
const STANDARD_MODE: &str = "standard";

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProjectTasks)]
#[serde(rename_all = "camelCase")]
pub(super) struct TasksResponse {
    /// The active plan, as the file has it.
    #[schema(value_type = Option<Object>)]
    work_plan: Option<Value>,
    /// Its tasks; without an active plan, those of all plans.
    #[schema(value_type = Vec<Object>)]
    tasks: Vec<Value>,
    /// The first one whose status is `active`.
    #[schema(value_type = Option<Object>)]
    active_task: Option<Value>,
    /// Why the file could not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProjectHistory)]
pub(super) struct HistoryResponse {
    /// What is completed or failed, of all plans.
    #[schema(value_type = Vec<Object>)]
    tasks: Vec<Value>,
    /// Why the file could not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProjectGovernance)]
#[serde(rename_all = "camelCase")]
pub(super) struct GovernanceResponse {
    progress: Progress,
    governance_mode: String,
    /// No task is active.
    writes_blocked: bool,
    #[schema(value_type = Option<Object>)]
    active_task: Option<Value>,
    /// The agent of each session.
    captured_agents: BTreeMap<String, String>,
    /// Why files could not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// How many tasks there are, and how many of them are over.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProjectProgress)]
pub(super) struct Progress {
    total: usize,
    completed: usize,
    failed: usize,
    /// Of the completed ones.
    percent: usize,
}

error_responses!(PlanErrors: InvalidRequest, WorkspaceUnavailable);
error_responses!(TaskErrors: InvalidRequest, NotFound, WorkspaceUnavailable);

/// The plan of the project and its tasks.
#[utoipa::path(
    get,
    path = "/api/tasks",
    operation_id = "project_tasks",
    params(("X-Project-Dir" = Option<String>, Header, description = "a directory of the workspace")),
    responses((status = 200, description = "the plan", body = TasksResponse), PlanErrors)
)]
pub(super) async fn tasks(
    State(state): Shared,
    ProjectDir(project): ProjectDir,
) -> Json<TasksResponse> {
    let plan = idumb::plan(&state.workspace_dir, &project).await;
    Json(plan.into())
}

/// The tasks that are over.
#[utoipa::path(
    get,
    path = "/api/tasks/history",
    operation_id = "project_history",
    params(("X-Project-Dir" = Option<String>, Header, description = "a directory of the workspace")),
    responses((status = 200, description = "the tasks", body = HistoryResponse), PlanErrors)
)]
pub(super) async fn history(
    State(state): Shared,
    ProjectDir(project): ProjectDir,
) -> Json<HistoryResponse> {
    let plan = idumb::plan(&state.workspace_dir, &project).await;
    Json(HistoryResponse {
        tasks: plan.history,
        problem: plan.problem,
    })
}

/// One task.
#[utoipa::path(
    get,
    path = "/api/tasks/{id}",
    operation_id = "project_task",
    params(
        ("id" = String, Path, description = "of the task"),
        ("X-Project-Dir" = Option<String>, Header, description = "a directory of the workspace"),
    ),
    responses((status = 200, description = "as the file has it", body = Object), TaskErrors)
)]
pub(super) async fn task(
    State(state): Shared,
    ProjectDir(project): ProjectDir,
    Id(id): Id,
) -> Result<Json<Value>, ApiError> {
    let plan = idumb::plan(&state.workspace_dir, &project).await;
    if let Some(task) = plan.task(&id) {
        return Ok(Json(task.clone()));
    }
    let why = plan.problem.map(|problem| format!(": {problem}"));
    let message = format!(
        "the project has no task with this id{}",
        why.unwrap_or_default()
    );
    Err(ApiError::new(ErrorCode::NotFound, message))
}

/// How far the project is, and what its agents may do.
#[utoipa::path(
    get,
    path = "/api/governance",
    operation_id = "project_governance",
    params(("X-Project-Dir" = Option<String>, Header, description = "a directory of the workspace")),
    responses((status = 200, description = "how it is governed", body = GovernanceResponse), PlanErrors)
)]
pub(super) async fn governance(
    State(state): Shared,
    ProjectDir(project): ProjectDir,
) -> Json<GovernanceResponse> {
    let found = idumb::governance(&state.workspace_dir, &project).await;
    Json(found.into())
}

// === impl TasksResponse ===

impl From<Plan> for TasksResponse {
    fn from(plan: Plan) -> Self {
        Self {
            active_task: plan.active_task().cloned(),
            work_plan: plan.whole,
            tasks: plan.tasks,
            problem: plan.problem,
        }
    }
}

// === impl GovernanceResponse ===

impl From<Governance> for GovernanceResponse {
    fn from(found: Governance) -> Self {
        let active = found.plan.active_task().cloned();
        Self {
            progress: Progress::of(&found.plan.tasks),
            governance_mode: found.mode.unwrap_or_else(|| STANDARD_MODE.to_owned()),
            writes_blocked: active.is_none(),
            active_task: active,
            captured_agents: found.agents,
            problem: found.problem,
        }
    }
}

// === impl Progress ===

impl Progress {
    fn of(tasks: &[Value]) -> Self {
        let count = |status| {
            let such = tasks.iter().filter(|task| idumb::status(task) == status);
            such.count()
        };
        let (total, completed) = (tasks.len(), count(TaskStatus::Completed));
        Self {
            total,
            completed,
            failed: count(TaskStatus::Failed),
            percent: (completed * 100).checked_div(total).unwrap_or_default(),
        }
    }
}
