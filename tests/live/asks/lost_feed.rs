//! What is asked while the child is not heard.

use std::time::Duration;

use serde_json::json;

use super::{
    answer, ask_both, asked, asked_both, begin, questions, reply, run, status, story, text,
};
use crate::healing::{cut, fragile, mend};
use crate::llm::Turn;

#[test]
fn what_is_asked_while_the_feed_is_lost_is_read_when_it_is_back() {
    let world = fragile();
    let first = Turn::new()
        .stream(10, Duration::from_millis(50))
        .text("I look around. ")
        .tool(
            "bash",
            json!({ "command": "echo x > x.txt", "description": "write" }),
        )
        .tool("question", questions());
    let mut stream = begin(
        &world,
        "unheard",
        &ask_both(),
        [first, run("true"), text("done")],
    );
    stream.until("words", |event| event.kind == "output");
    cut(&world, 1);
    world.runtime.block_on(world.llm.until_idle());
    // The model has said all, so the agent asks within milliseconds, and nothing outside of it can tell when.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(status(&world.sidecar, "unheard")["asks"], json!([]));
    mend(&world, 1);
    let [request, question] = asked_both(&mut stream);
    // They are open before and after the next loss, and are told once.
    let asks = status(&world.sidecar, "unheard")["asks"].clone();
    assert_eq!(asks.as_array().unwrap().len(), 2, "{asks}");
    cut(&world, 2);
    mend(&world, 2);
    assert_eq!(status(&world.sidecar, "unheard")["asks"], asks);
    let answers = json!({ "answers": [["A"]] });
    let given = answer(&world.sidecar, "unheard", &question, &answers);
    assert_eq!(given.status, 200, "{given:?}");
    let given = reply(
        &world.sidecar,
        "unheard",
        &request,
        &json!({ "reply": "always" }),
    );
    assert_eq!(given.status, 200, "{given:?}");
    let (second, event) = asked(&mut stream);
    assert_eq!(event.data["patterns"], json!(["true"]));
    reply(
        &world.sidecar,
        "unheard",
        &second,
        &json!({ "reply": "once" }),
    );
    let rest = stream.rest();
    assert_eq!(rest.last().unwrap().kind, "complete", "{rest:#?}");
    let all = world.follow("unheard");
    let expected = [
        "asked",
        "asked",
        "answered client",
        "answered always client",
        "asked",
        "answered once client",
    ];
    assert_eq!(story(&all.0), expected);
    assert!(world.sidecar.workspace().join("x.txt").exists());
}
