use super::*;
use crate::provider::Upstream;

fn route(session: &str) -> Route {
    Route {
        session: session.to_owned(),
        model: ModelSpec {
            upstream: Upstream::resolve("custom", Some("http://x.test/v1"), true, false).unwrap(),
            name: "m".to_owned(),
            version: None,
            key: None,
            temperature: None,
            max_tokens: None,
            context_window: None,
            budget: Budget::default(),
        },
        enabled_tools: None,
        spent: ModelCalls::default(),
        counts: true,
        trace: TurnTrace::default(),
    }
}

fn routes() -> Arc<Routes> {
    Arc::new(Routes::default())
}

fn caller(routes: &Routes, session: &str, parent: Option<&str>) -> Option<String> {
    routes
        .find(session, parent)
        .map(|registered| registered.route.session.clone())
}

#[test]
fn a_subagent_at_any_depth_calls_as_its_root() {
    let routes = routes();
    let _grant = routes.register(route("root"), Budget::default());
    routes.adopt("child", "root");
    assert_eq!(caller(&routes, "child", None).as_deref(), Some("root"));
    // Not announced: learnt from the call's own header, and then known to its children.
    assert_eq!(
        caller(&routes, "grandchild", Some("child")).as_deref(),
        Some("root")
    );
    assert_eq!(
        caller(&routes, "great", Some("grandchild")).as_deref(),
        Some("root")
    );
    assert_eq!(caller(&routes, "stranger", Some("nobody")), None);
    assert_eq!(caller(&routes, "stranger", None), None);
}

#[test]
fn a_dropped_grant_takes_its_family_and_its_calls_with_it() {
    let routes = routes();
    let grant = routes.register(route("root"), Budget::default());
    routes.adopt("child", "root");
    let registered = routes.get("root").unwrap();
    grant.revoke();
    assert!(registered.revoked.is_cancelled());
    assert_eq!(caller(&routes, "root", None), None);
    assert_eq!(caller(&routes, "child", Some("root")), None);
    assert!(routes.sessions.lock().subagents.is_empty());
}

#[test]
fn a_late_drop_of_an_old_grant_leaves_the_new_one() {
    let routes = routes();
    let old = routes.register(route("root"), Budget::default());
    let new = routes.register(route("root"), Budget::default());
    assert!(old.registered.revoked.is_cancelled());
    drop(old);
    assert!(!new.registered.revoked.is_cancelled());
    assert!(routes.get("root").is_some());
}

#[test]
fn the_memory_of_subagents_is_bounded() {
    let routes = routes();
    let _grant = routes.register(route("root"), Budget::default());
    for n in 0..2 * MAX_SUBAGENTS {
        routes.adopt(&format!("child-{n}"), "root");
    }
    assert_eq!(routes.sessions.lock().subagents.len(), MAX_SUBAGENTS);
    assert_eq!(
        caller(&routes, "child-2000", Some("root")).as_deref(),
        Some("root")
    );
}
