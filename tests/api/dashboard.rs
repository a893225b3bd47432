//! `/api`: the project's plan as a dashboard reads it.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::{Options, Sidecar, http};

fn in_project(sidecar: &Sidecar, path: &str, project: &str) -> http::Response {
    let headers = [("X-Project-Dir", project)];
    http::send(sidecar.address, "GET", path, &headers, b"").unwrap()
}

#[test]
fn a_projects_plan_is_read_in_the_workspace_only_and_a_broken_file_is_no_500() {
    let sidecar = Options::stub().start().ready();
    let dir = sidecar.workspace().join("shop");
    let brain = dir.join(".idumb/brain");
    std::fs::create_dir_all(&brain).unwrap();
    let write = |name: &str, content: &Value| {
        std::fs::write(dir.join(".idumb").join(name), content.to_string()).unwrap();
    };
    let (done, now) = (
        json!({ "id": "t1", "status": "completed" }),
        json!({ "id": "t2", "status": "active", "own": [1] }),
    );
    let plan = json!({ "id": "p", "tasks": [done, now], "planAhead": [] });
    write(
        "brain/graph.json",
        &json!({ "workPlans": [plan], "activeWorkPlanId": "p" }),
    );
    write(
        "brain/state.json",
        &json!({ "sessions": { "s": { "capturedAgent": "builder" } } }),
    );
    write(
        "config.json",
        &json!({ "governance": { "mode": "strict" } }),
    );

    let get = |path: &str| in_project(&sidecar, path, "shop");
    assert_eq!(
        get("/api/tasks").json(),
        json!({ "workPlan": plan, "tasks": [done, now], "activeTask": now })
    );
    assert_eq!(get("/api/tasks/history").json(), json!({ "tasks": [done] }));
    assert_eq!(get("/api/tasks/t2").json(), now);
    assert_eq!(get("/api/tasks/t3").status, 404);
    assert_eq!(
        get("/api/governance").json(),
        json!({
            "progress": { "total": 2, "completed": 1, "failed": 0, "percent": 50 },
            "governanceMode": "strict", "writesBlocked": false, "activeTask": now,
            "capturedAgents": { "s": "builder" },
        })
    );
    let absolute = dir.canonicalize().unwrap();
    let same = in_project(&sidecar, "/api/tasks/t1", absolute.to_str().unwrap());
    assert_eq!(same.json(), done);

    std::fs::write(brain.join("graph.json"), "{").unwrap();
    for path in ["/api/tasks", "/api/tasks/history", "/api/governance"] {
        let broken = get(path);
        assert_eq!(broken.status, 200, "{broken:?}");
        let said = broken.json()["problem"].as_str().unwrap().to_owned();
        assert!(said.contains("graph.json is not an object"), "{said}");
    }
    assert_eq!(get("/api/tasks/t1").status, 404);

    symlink("/etc", sidecar.workspace().join("out")).unwrap();
    std::fs::write(sidecar.workspace().join("file"), "").unwrap();
    for (project, reason) in [
        ("..", "must be the workspace or a directory below it"),
        ("/", "must be the workspace or a directory below it"),
        ("out", "must be the workspace or a directory below it"),
        ("gone", "there is no such directory in the workspace"),
        ("file", "is not a directory"),
    ] {
        let refused = in_project(&sidecar, "/api/tasks", project);
        assert_eq!(refused.status, 400, "{project}: {refused:?}");
        assert_eq!(
            refused.json()["details"],
            json!({ "field": "X-Project-Dir", "reason": reason }),
            "{project}"
        );
    }
}
