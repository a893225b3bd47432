//! A project's own plan: what the plugin `idumb` keeps in the directory `.idumb`. Read only.
//!
//! Anyone who writes to the workspace writes these files, the agent among them. So nothing in them is relied on: what has
//! another shape is left out, and a file that cannot be read is a sentence beside what could be.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::workspace::file;

/// A larger file is not read. Its tasks are told twice, in the plan and beside it.
const MAX_FILE: u64 = 1024 * 1024;

const GRAPH: &str = ".idumb/brain/graph.json";
const STATE: &str = ".idumb/brain/state.json";
const CONFIG: &str = ".idumb/config.json";

/// The plan and its tasks, each as the file has it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The active one, whole.
    pub(crate) whole: Option<Value>,
    /// Of the active plan; without one, of all.
    pub(crate) tasks: Vec<Value>,
    /// Completed or failed, of all plans.
    pub(crate) history: Vec<Value>,
    /// Of all plans, those that are planned ahead among them.
    all: Vec<Value>,
    /// Why the file could not be used.
    pub(crate) problem: Option<String>,
}

/// How the project is governed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Governance {
    pub(crate) plan: Plan,
    /// As its configuration says.
    pub(crate) mode: Option<String>,
    /// The agent of each session.
    pub(crate) agents: BTreeMap<String, String>,
    /// Why files could not be used.
    pub(crate) problem: Option<String>,
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskStatus {
    Active,
    Completed,
    Failed,
    Other,
}

/// The plan of the project in `project`, which lies in `workspace`.
pub(crate) async fn plan(workspace: &Path, project: &Path) -> Plan {
    match object(workspace, project, GRAPH, file::deadline()).await {
        Ok(graph) => Plan::of(&graph),
        Err(problem) => Plan {
            problem: Some(problem),
            ..Plan::default()
        },
    }
}

/// The same with how it is governed.
pub(crate) async fn governance(workspace: &Path, project: &Path) -> Governance {
    let plan = plan(workspace, project).await;
    let deadline = file::deadline();
    let state = object(workspace, project, STATE, deadline).await;
    let config = object(workspace, project, CONFIG, deadline).await;
    Governance::of(plan, state, config)
}

pub(crate) fn status(task: &Value) -> TaskStatus {
    match task.get("status").and_then(Value::as_str) {
        Some("active") => TaskStatus::Active,
        Some("completed") => TaskStatus::Completed,
        Some("failed") => TaskStatus::Failed,
        _ => TaskStatus::Other,
    }
}

/// The object in a file; no file is an empty one. The error is a sentence for a client.
async fn object(
    workspace: &Path,
    project: &Path,
    name: &str,
    deadline: Instant,
) -> Result<Map<String, Value>, String> {
    let content = match file::read(workspace, &project.join(name), MAX_FILE, deadline).await {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(format!("{name} cannot be read: {error}")),
    };
    if content.size > MAX_FILE {
        return Err(format!("{name} is larger than {MAX_FILE} bytes"));
    }
    serde_json::from_slice(&content.bytes)
        .map_err(|error| format!("{name} is not an object in JSON: {error}"))
}

fn objects(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    let list = value.and_then(Value::as_array);
    list.into_iter().flatten().filter(|entry| entry.is_object())
}

// === impl Plan ===

impl Plan {
    fn of(graph: &Map<String, Value>) -> Self {
        let plans = || objects(graph.get("workPlans"));
        let tasks = |plan: &Value| objects(plan.get("tasks")).cloned().collect::<Vec<_>>();
        let of_all: Vec<Value> = plans().flat_map(tasks).collect();
        let ahead = plans().flat_map(|plan| objects(plan.get("planAhead")));
        let all = of_all.iter().chain(ahead).cloned().collect();
        let over =
            |task: &&Value| matches!(status(task), TaskStatus::Completed | TaskStatus::Failed);
        let history = of_all.iter().filter(over).cloned().collect();
        let active = graph.get("activeWorkPlanId").filter(|id| !id.is_null());
        let active_plan = active.and_then(|id| plans().find(|plan| plan.get("id") == Some(id)));
        Self {
            tasks: active_plan.map_or(of_all, tasks),
            whole: active_plan.cloned(),
            history,
            all,
            problem: None,
        }
    }

    pub(crate) fn active_task(&self) -> Option<&Value> {
        let mut tasks = self.tasks.iter();
        tasks.find(|task| status(task) == TaskStatus::Active)
    }

    /// The task with this id, in whatever plan.
    pub(crate) fn task(&self, id: &str) -> Option<&Value> {
        let mut tasks = self.all.iter();
        tasks.find(|task| match task.get("id") {
            Some(Value::String(of)) => of == id,
            Some(Value::Number(of)) => of.to_string() == id,
            _ => false,
        })
    }
}

// === impl Governance ===

impl Governance {
    fn of(
        plan: Plan,
        state: Result<Map<String, Value>, String>,
        config: Result<Map<String, Value>, String>,
    ) -> Self {
        let mut problems: Vec<String> = plan.problem.clone().into_iter().collect();
        let mut usable = |file: Result<Map<String, Value>, String>| {
            file.map_err(|problem| problems.push(problem))
                .unwrap_or_default()
        };
        let (state, config) = (usable(state), usable(config));
        let mode = config
            .get("governance")
            .and_then(|governance| governance.get("mode"))
            .and_then(Value::as_str);
        let sessions = state.get("sessions").and_then(Value::as_object);
        let agents = sessions.into_iter().flatten().filter_map(|(id, session)| {
            let agent = session.get("capturedAgent")?.as_str()?;
            Some((id.clone(), agent.to_owned()))
        });
        Self {
            mode: mode.map(str::to_owned),
            agents: agents.collect(),
            problem: (!problems.is_empty()).then(|| problems.join("; ")),
            plan,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn ids(tasks: &[Value]) -> Vec<&str> {
        let ids = tasks.iter().map(|task| task["id"].as_str().unwrap());
        ids.collect()
    }

    fn plan_of(graph: &Value) -> Plan {
        Plan::of(graph.as_object().unwrap())
    }

    #[test]
    fn the_tasks_are_those_of_the_active_plan_and_without_one_those_of_all() {
        let task = |id: &str, status: &str| json!({ "id": id, "status": status, "own": 1 });
        let mut graph = json!({
            "workPlans": [
                { "id": "p1", "tasks": [task("a", "completed"), task("b", "failed")] },
                { "id": "p2", "tasks": [task("c", "planned"), task("d", "active")],
                    "planAhead": [task("e", "completed")] },
            ],
            "activeWorkPlanId": "p2",
        });
        let plan = plan_of(&graph);
        assert_eq!(ids(&plan.tasks), ["c", "d"]);
        assert_eq!(plan.whole.as_ref().unwrap(), &graph["workPlans"][1]);
        assert_eq!(plan.active_task().unwrap(), &task("d", "active"));
        assert_eq!(ids(&plan.history), ["a", "b"]);
        assert!(plan.task("a").is_some() && plan.task("e").is_some());
        assert_eq!(plan.task("f"), None);
        for none in [Value::Null, json!("p3")] {
            graph["activeWorkPlanId"] = none;
            let plan = plan_of(&graph);
            assert_eq!(plan.whole, None);
            assert_eq!(ids(&plan.tasks), ["a", "b", "c", "d"]);
        }
    }

    #[test]
    fn what_has_another_shape_is_left_out() {
        for graph in [
            json!({}),
            json!({ "workPlans": 5, "activeWorkPlanId": [] }),
            json!({ "workPlans": [1, null, { "id": 7, "tasks": "none", "planAhead": {} }] }),
            json!({ "workPlans": [{ "tasks": [3, "a", null] }] }),
        ] {
            assert_eq!(plan_of(&graph), Plan::default(), "{graph}");
        }
        let state = json!({ "sessions": { "s": 1, "t": { "capturedAgent": 2 }, "u": { "capturedAgent": "x" } } });
        let config = json!({ "governance": { "mode": [] } });
        let object = |value: Value| Ok(value.as_object().unwrap().clone());
        let found = Governance::of(Plan::default(), object(state), object(config));
        assert_eq!(found.mode, None);
        assert_eq!(found.agents, BTreeMap::from([("u".into(), "x".into())]));
    }

    #[tokio::test]
    async fn no_file_is_no_plan_and_one_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (workspace, other) = (dir.path().join("workspace"), dir.path().join("other"));
        let brain = workspace.join("project/.idumb/brain");
        std::fs::create_dir_all(&brain).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        let project = workspace.canonicalize().unwrap().join("project");
        assert_eq!(
            governance(&workspace, &project).await,
            Governance::default()
        );

        let graph = brain.join("graph.json");
        let problem = async || plan(&workspace, &project).await.problem.unwrap();
        for broken in ["{", "[1]", "", "\u{0}"] {
            std::fs::write(&graph, broken).unwrap();
            let said = problem().await;
            assert!(
                said.contains("graph.json is not an object in JSON"),
                "{said}"
            );
        }
        // Sparse: its size is what is looked at.
        let huge = std::fs::File::create(&graph).unwrap();
        huge.set_len(MAX_FILE + 1).unwrap();
        assert!(problem().await.contains("is larger than 1048576 bytes"));

        std::fs::write(other.join("graph.json"), "{}").unwrap();
        std::fs::remove_file(&graph).unwrap();
        symlink(other.join("graph.json"), &graph).unwrap();
        assert!(problem().await.contains("it is outside the workspace"));
        let found = governance(&workspace, &project).await;
        assert_eq!(found.problem, found.plan.problem);
    }
}
