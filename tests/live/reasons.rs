//! What a client reads when a provider fails: where it is, and its own reason, in one line.

use crate::llm::Turn;
use crate::world::World;

/// Host and port of the scripted provider.
fn authority(world: &World) -> String {
    let base = world.llm.base();
    let rest = base.strip_prefix("http://").unwrap();
    rest.split('/').next().unwrap().to_owned()
}

#[test]
fn a_refusal_names_the_provider_and_its_reason_even_if_opencode_repeats_the_call() {
    let world = World::start();
    let page = "<!doctype html>\n<html><head><title>404 Not\nFound</title></head><body>nginx</body></html>";
    // OpenCode finds a status in any number, and repeats the call; the gateway passes a refusal on once.
    for (id, refusal, code, says) in [
        (
            "number",
            Turn::error(400, "your plan allows\n500 tokens"),
            "provider_error",
            "answered 400: your plan allows 500 tokens",
        ),
        (
            // The session's key is its id here, and the gateway takes it out of what providers say.
            "unknown-to-it",
            Turn::error(401, "key number 500 is not known"),
            "provider_auth",
            "answered 401: key number 500 is not known",
        ),
        (
            "page",
            Turn::plain(404, page).header("content-type", "text/html"),
            "provider_error",
            "answered 404: 404 Not Found",
        ),
    ] {
        world.script(id, vec![refusal; 3]);
        world.create(id);
        let seen = world.follow(id);
        let sentence = format!("the provider at {} {says}", authority(&world));
        assert_eq!(seen.assert_failed(code)["error"], sentence);
        let status = world.status(id);
        assert_eq!(status["error"]["error"], sentence);
        assert_eq!(status["model_calls"]["last_error"], sentence);
        assert_eq!(status["model_calls"]["calls"], 1, "{status}");
    }
}

#[test]
fn a_provider_that_cannot_be_reached_is_named_by_host_and_port() {
    let world = World::start();
    // A port that was free a moment ago.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    world.create_with("away", |body| {
        body["model_config"]["api_endpoint"] = format!("http://{address}/v1").into();
    });
    let mut stream = world.stream("away", "");
    let seen = stream.until("a retry", |event| event.kind == "error");
    let sentence = seen.last().unwrap().data["error"].as_str().unwrap();
    let expected = format!("the provider at {address} cannot be reached: ");
    assert!(sentence.starts_with(&expected), "{sentence}");
    assert_eq!(world.stop("away").status, 200);
    let last = world.status("away")["model_calls"]["last_error"].clone();
    assert!(last.as_str().unwrap().starts_with(&expected), "{last}");
}
