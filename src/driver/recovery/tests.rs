//! A turn of the real OpenCode that dies with its listener, and what the next ones make of it.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::driver::opening::{Earlier, Opened, open};
use crate::driver::overlap::RunningTurns;
use crate::driver::prompt::RESUME;
use crate::event::{Event, Failure, FailureCode};
use crate::gateway::llm::{Llm, Scope, Turn};
use crate::live::{self, Child};
use crate::model::ModelSpec;
use crate::provider::Upstream;
use crate::secret::Secret;
use crate::session::{self, CreateError, Registry, Request};
use crate::shutdown::Shutdown;
use crate::{engine, workspace};

const KEY: &str = "KEY-OF-THE-TURN";

/// Nothing here takes longer.
const DEADLINE: Duration = Duration::from_mins(1);

/// The handle of an engine that has left. One that runs would end the children of this test.
async fn no_engine() -> engine::Handle {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, shutdown) = (TaskTracker::new(), Shutdown::default());
    let config = engine::Config::without_child(dir.path());
    let child_config = || engine::ChildConfig {
        configuration: Secret::random(),
        token: Secret::random(),
    };
    shutdown.halt.cancel();
    let watch = workspace::spawn(dir.path(), &tracker, shutdown.gone.clone());
    let child_configs = engine::ChildConfigs::new(child_config);
    let test_turn = engine::TestTurn::new(|_| async { Err("no child comes up".into()) });
    let (handle, keeper) = engine::spawn(
        config,
        (child_configs, test_turn),
        None,
        watch,
        shutdown.clone(),
        &tracker,
    )
    .unwrap();
    keeper.await.unwrap();
    shutdown.gone.cancel();
    tracker.close();
    tokio::time::timeout(DEADLINE, tracker.wait())
        .await
        .unwrap();
    handle
}

/// What the driver shares when this child, or none, is there.
fn surroundings(engine: &engine::Handle, child: &Child, there: bool) -> Context {
    let shutdown = Shutdown::default();
    let sessions = session::Config {
        most: 1,
        retention: DEADLINE,
        keep_prompts: false,
    };
    let link = there.then(|| Link {
        client: child.api(),
        generation: crate::id::Generation::default(),
        lost: CancellationToken::new(),
    });
    Context {
        config: crate::driver::Config {
            workspace: child.workspace(),
            turn_timeout: DEADLINE,
            engine_wait: Duration::from_secs(1),
            loop_limit: 0,
            stall_after: DEADLINE,
            recoveries: 0,
            instructions: false,
        },
        links: watch::channel(link).1,
        engine: engine.clone(),
        workspace: workspace::fine(),
        gateway: child.gateway.clone(),
        demux: Demux::default(),
        running_turns: RunningTurns::default(),
        registry: Registry::new(sessions, None, shutdown.drain.clone()).0,
        shutdown,
    }
}

/// What [`recover`] finds, told into `batch`.
async fn rest(turn: Interrupted, context: &Context, batch: &mut Batch) -> (Translator, End) {
    let (translator, mut events, end) = recover(&turn, context).await;
    batch.events.append(&mut events);
    (translator, end)
}

fn request(llm: &Llm, prompt: &str) -> Request {
    let plain = session::tests::request("s1");
    Request {
        prompt: prompt.into(),
        system_prompt: Some("Speak plainly.".into()),
        model: ModelSpec {
            upstream: Upstream::resolve("custom", Some(&llm.base()), true, true).unwrap(),
            key: Some(Secret::new(KEY)),
            ..plain.model
        },
        ..plain
    }
}

/// The turn that was asked for; nobody changes his mind.
async fn begun(
    request: Request,
    remote_id: Option<&str>,
    context: &Context,
) -> Result<Opened, CreateError> {
    let earlier = Earlier {
        remote_id: remote_id.map(str::to_owned),
        ..Earlier::default()
    };
    open(request, earlier, context.clone(), CancellationToken::new()).await
}

/// A turn that writes, and delegates; its subagent runs a command that does not end by itself.
fn script(llm: &Llm, file: &Path) {
    let write = json!({ "filePath": file, "content": "x" });
    let delegate =
        json!({ "description": "sub", "prompt": "the work below", "subagent_type": "general" });
    // Nobody sweeps here, so it must end at last.
    let wait = "echo deep; for i in $(seq 300); do [ -e go-on ] && break; sleep 0.1; done";
    let bash = json!({ "command": wait, "description": "x" });
    llm.reply_to(
        Scope::prompt("the work below"),
        Turn::new().text("Below. ").tool("bash", bash),
    );
    let own = Scope::key(KEY);
    llm.reply_to(
        own.clone(),
        Turn::new().text("Above. ").tool("write", write),
    );
    llm.reply_to(own, Turn::new().text("More. ").tool("task", delegate));
}

/// Begins the turn and listens until the subagent's command speaks.
async fn begin(child: &Child, llm: &Llm, context: &Context) -> (String, Vec<Event>) {
    let mut feed = child.api().feed().await.unwrap();
    let opened = begun(request(llm, "please do it"), None, context)
        .await
        .unwrap();
    let Opened {
        remote_id,
        mut translator,
        mut batch,
        grant: _grant,
        ..
    } = opened;
    let speaks =
        |event: &Event| matches!(&event.body, Body::Output(output) if output.text == "deep\n");
    let listening = async {
        while !batch.events.iter().any(speaks) {
            let event = feed.next().await.unwrap().event;
            translator.apply(event, Timestamp::now(), &mut batch);
        }
    };
    tokio::time::timeout(DEADLINE, listening).await.unwrap();
    (remote_id, batch.events)
}

fn notes(events: &[Event]) -> Vec<(String, u64)> {
    let notes = events.iter().filter_map(|event| event.note.as_ref());
    let newest: BTreeMap<_, _> = notes
        .map(|note| (note.part.to_string(), note.value))
        .collect();
    newest.into_iter().collect()
}

/// By tool: how often it was called, and whether each result is a failure.
type Tools = BTreeMap<String, (usize, Vec<bool>)>;

/// The texts of the parts in order, and what came of the tools.
fn told(events: &[Event]) -> (Vec<String>, Tools) {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut tools = Tools::new();
    for event in events {
        match &event.body {
            Body::Output(output) if output.call_id.is_none() => {
                let part = event.note.as_ref().unwrap().part.to_string();
                *texts.entry(part).or_default() += &output.text;
            }
            Body::ToolCall(call) => tools.entry(call.tool.to_string()).or_default().0 += 1,
            Body::ToolResult(result) => {
                let results = &mut tools.entry(result.tool.to_string()).or_default().1;
                results.push(result.is_error);
            }
            _ => {}
        }
    }
    (texts.into_values().collect(), tools)
}

fn assert_interrupted(end: &End, resumable: bool) {
    let End::Failed(Failure {
        code: FailureCode::Interrupted,
        resumable: said,
        ..
    }) = end
    else {
        panic!("{end:?}");
    };
    assert_eq!(*said, Some(resumable));
}

#[tokio::test]
async fn the_next_child_knows_the_rest_of_a_turn_and_takes_another_one() {
    let engine = no_engine().await;
    let llm = Llm::start().await;
    let child = Child::start(live::config()).await;
    let file = child.workspace().join("written.txt");
    script(&llm, &file);
    let (root, events) = begin(&child, &llm, &surroundings(&engine, &child, true)).await;
    let began = events[0].at;
    let child = Child::start_in(child.kill().await, live::config()).await;
    std::fs::write(child.workspace().join("go-on"), "").unwrap();
    let context = surroundings(&engine, &child, true);
    let unfinished = |root: &str, notes, before| Interrupted {
        remote_id: root.to_owned(),
        notes,
        before,
        began,
    };

    // Wherever the journal ended.
    for cut in 0..=events.len() {
        let (first, mut batch) = (&events[..cut], Batch::default());
        let turn = unfinished(&root, notes(first), None);
        let (mut translator, end) = rest(turn, &context, &mut batch).await;
        assert_interrupted(&end, true);
        assert_eq!(translator.open_calls().count(), 0);
        translator.finish(end, false, Timestamp::now(), &mut batch);
        let rest = &batch.events;
        assert_eq!(rest.iter().filter(|event| event.is_terminal()).count(), 1);
        let both: Vec<Event> = first.iter().chain(rest).cloned().collect();
        let (texts, tools) = told(&both);
        assert_eq!(texts, ["Above. ", "More. ", "Below. "], "cut at {cut}");
        let expected = [("bash", true), ("task", true), ("write", false)];
        let expected = expected.map(|(tool, failed)| (tool.to_owned(), (1, vec![failed])));
        assert_eq!(tools, BTreeMap::from(expected), "cut at {cut}");
        let files = [file.to_string_lossy().into_owned()];
        assert_eq!(translator.files(false).0, files, "cut at {cut}");
        let below = |event: &&Event| matches!(&event.body, Body::ToolResult(result) if &*result.tool == "bash");
        assert!(both.iter().find(below).unwrap().agent.is_some());
    }

    // A session that is gone, and an engine that does not come before the shutdown.
    let lost = unfinished("ses_0000000000000000000000", Vec::new(), None);
    let (_, end) = rest(lost, &context, &mut Batch::default()).await;
    assert_interrupted(&end, false);
    let alone = surroundings(&engine, &child, false);
    alone.shutdown.halt.cancel();
    let mut batch = Batch::default();
    let turn = unfinished(&root, notes(&events), None);
    let (_, end) = rest(turn, &alone, &mut batch).await;
    assert_interrupted(&end, true);
    assert_eq!(told(&batch.events).1.len(), 2, "the open calls are closed");

    go_on(&child, &llm, &root, &context).await;
}

/// Another turn of the session; and what would be told of it, were this sidecar killed as well.
async fn go_on(child: &Child, llm: &Llm, root: &str, context: &Context) {
    llm.reply_to(Scope::key(KEY), Turn::new().text("Resumed."));
    let calls = llm.requests().len();
    let mut feed = child.api().feed().await.unwrap();
    let api = child.api();
    let own = api.messages(root).await.unwrap().pop().unwrap().info.id;
    let subagent = api.children(root).await.unwrap().pop().unwrap().id;
    let below = api
        .messages(&subagent)
        .await
        .unwrap()
        .pop()
        .unwrap()
        .info
        .id;
    assert_eq!(api.newest_message(root).await.unwrap(), Some(own.clone()));
    let opened = begun(request(llm, ""), Some(root), context).await.unwrap();
    assert_eq!(
        opened.before,
        Some(own.max(below)),
        "the subagent's are old as well"
    );
    let (mut translator, mut batch) = (opened.translator, opened.batch);
    let idle = crate::driver::translate::Signal::Idle;
    let listening = async {
        while !batch.signals.contains(&idle) {
            let event = feed.next().await.unwrap().event;
            translator.apply(event, Timestamp::now(), &mut batch);
        }
    };
    tokio::time::timeout(DEADLINE, listening).await.unwrap();
    assert_eq!(
        told(&batch.events),
        (vec!["Resumed.".to_owned()], BTreeMap::new())
    );
    let usage = translator.usage();
    assert_eq!(usage.input_tokens, 100, "of this turn alone");
    let call = llm.requests().split_off(calls).remove(0);
    assert!(
        RESUME.starts_with(&call.last_user_text()),
        "{}",
        call.last_user_text()
    );
    assert!(call.system_text().contains("Speak plainly."));
    assert!(String::from_utf8_lossy(&call.bytes).contains("please do it"));

    let turn = Interrupted {
        remote_id: root.to_owned(),
        notes: Vec::new(),
        before: opened.before,
        began: Timestamp::now(),
    };
    let mut batch = Batch::default();
    let (translator, end) = rest(turn, context, &mut batch).await;
    let complete = End::Complete {
        finish_reason: Some("stop".into()),
    };
    assert_eq!(end, complete, "it had ended, and nobody was told");
    assert_eq!(
        told(&batch.events),
        (vec!["Resumed.".to_owned()], BTreeMap::new())
    );
    assert_eq!(translator.usage(), usage);
    let gone = begun(
        request(llm, ""),
        Some("ses_0000000000000000000000"),
        context,
    )
    .await;
    assert!(matches!(gone, Err(CreateError::RemoteGone)));
}
