//! Sessions on a real journal, in a directory of the test's own.

use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;
use crate::event::{Body, Event, State};
use crate::journal::{self, Health, Journal};
use crate::session::log::{Cursor, Opening, Requested, Step, View};

/// One life of a sidecar on a data directory.
pub(super) struct Life {
    pub(super) registry: Registry,
    receivers: Receivers,
    journal: Journal,
}

impl Life {
    pub(super) async fn begin(dir: &TempDir) -> Self {
        Self::begin_with(dir, Duration::from_hours(1)).await
    }

    async fn begin_with(dir: &TempDir, retention: Duration) -> Self {
        let kept = journal::Config {
            dir: dir.path().join("journal"),
            max_bytes: 64 << 20,
            retention,
        };
        let journal = Journal::start(kept, "boot".into()).unwrap();
        let config = Config {
            most: 100,
            retention: Duration::from_hours(1),
            keep_prompts: true,
            credential_retention: Duration::from_hours(1),
            tells_ends: true,
        };
        let (registry, receivers) =
            Registry::new(config, Some(journal.clone()), CancellationToken::new());
        registry.load().await;
        Self {
            registry,
            receivers,
            journal,
        }
    }

    pub(super) async fn create(&mut self, request: Request) -> (Arc<Session>, TurnHandle) {
        let registry = self.registry.clone();
        let creating =
            TaskTracker::new().spawn(async move { registry.create(request).await.unwrap().0 });
        let turn_handle = self.take().await.turn_handle;
        turn_handle.accept("ses_1", None);
        turn_handle.append(&running());
        (creating.await.unwrap(), turn_handle)
    }

    pub(super) async fn take(&mut self) -> Turn {
        let turn = self.receivers.turns_rx.recv();
        tokio::time::timeout(Duration::from_secs(10), turn)
            .await
            .expect("a turn to drive")
            .unwrap()
    }

    pub(super) async fn find(&self, id: &str) -> Arc<Session> {
        match self.registry.find(id).await.unwrap() {
            Found::Here(session) => session,
            other => panic!("{id}: {other:?}"),
        }
    }

    pub(super) async fn end(self) {
        self.journal.close().await;
    }
}

fn running() -> Event {
    let status = crate::event::Status {
        state: State::Running,
        progress: 0,
        phase: None,
        current_tool: None,
        reason: None,
    };
    event(Body::Status(status))
}

fn event(body: Body) -> Event {
    Event {
        at: Timestamp::now(),
        agent: None,
        note: None,
        body,
    }
}

pub(super) fn text(turn_handle: &TurnHandle, words: &str) {
    let output = crate::event::Output {
        channel: crate::event::Channel::Stdout,
        source: crate::event::Source::Assistant,
        text: words.into(),
        call_id: None,
        truncated: false,
    };
    let note = crate::event::Note {
        part: "prt_1".into(),
        value: words.len() as u64,
    };
    turn_handle.append(&Event {
        note: Some(note),
        ..event(Body::Output(output))
    });
}

/// Ends the turn of `turn_handle`, and waits until that can be seen.
pub(super) async fn complete(turn_handle: TurnHandle) {
    let session = turn_handle.session.clone();
    let before = session.log.last_event_id().seq;
    turn_handle.update(|status| {
        status.state = State::Completed;
        status.completed_at = Some(Timestamp::now());
        status.ended = Some(std::time::Instant::now());
        status.files_modified = vec!["/workspace/a".into()];
    });
    let end = event(Body::Complete(crate::event::Complete::default()));
    turn_handle.append(&end);
    session.log.shown_past(before).await;
}

/// All a reader gets from `cursor` on, as bytes, until the session is idle.
pub(super) async fn replay(session: &Session, cursor: &str) -> Vec<u8> {
    let asked = Requested::parse(cursor.as_bytes());
    let Opening::Reading { mut cursor, gap } = Cursor::open(&session.log, &asked, View::default())
    else {
        return Vec::new();
    };
    assert_eq!(gap, None);
    let mut bytes = Vec::new();
    loop {
        match cursor.next().await {
            Step::Frames(more) => bytes.extend_from_slice(&more),
            Step::End(_) => return bytes,
            Step::Gap(gap) => panic!("{gap:?}"),
        }
    }
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    let text = std::str::from_utf8(bytes).unwrap();
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(|id| id.split_once('-').unwrap().1.parse().unwrap())
        .collect()
}

/// The disk as a SIGKILL leaves it: what was committed is there, and nothing was closed.
pub(super) fn killed(dir: &TempDir) -> TempDir {
    let (from, copy) = (dir.path().join("journal"), tempfile::tempdir().unwrap());
    let to = copy.path().join("journal");
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_session_longer_than_memory_is_replayed_from_its_first_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, turn_handle) = life.create(request("long")).await;
    let words = "w".repeat(1000);
    for _ in 0..20_000 {
        text(&turn_handle, &words);
    }
    complete(turn_handle).await;
    assert!(session.log.bytes() < 9 << 20, "memory keeps the tail");
    let all = replay(&session, "earliest").await;
    let last = session.log.last_event_id();
    assert_eq!(numbers(&all), (1..=last.seq).collect::<Vec<_>>());
    for after in [1, 2, 7777, last.seq - 5000, last.seq - 1] {
        let rest = replay(&session, &last.epoch.at(after).to_string()).await;
        assert!(all.ends_with(&rest), "the same bytes");
        assert_eq!(numbers(&rest).first(), Some(&(after + 1)));
    }
}

#[tokio::test]
async fn after_a_kill_a_finished_session_is_the_same_bytes_and_a_running_one_is_to_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (done, turn_handle) = life.create(with_key("done", "key", 1)).await;
    text(&turn_handle, "hello");
    complete(turn_handle).await;
    let (cut, turn_handle) = life.create(request("cut")).await;
    text(&turn_handle, "half a");
    cut.log.shown_past(1).await;
    let told = replay(&done, "earliest").await;
    let (done_id, cut_id) = (done.log.last_event_id(), cut.log.last_event_id());
    // Its driver does not end it: the process is gone.
    let dir = killed(&dir);
    drop((life, done, cut, turn_handle));

    let mut life = Life::begin(&dir).await;
    let done = life.find("done").await;
    assert_eq!(replay(&done, "earliest").await, told);
    assert_eq!(done.log.last_event_id(), done_id);
    let status = done.status();
    assert_eq!(status.state, State::Completed);
    assert_eq!(status.files_modified, ["/workspace/a"]);
    let Turn { kind, turn_handle } = life.take().await;
    let TurnKind::Recover(interrupted) = kind else {
        panic!("{kind:?}")
    };
    assert_eq!(interrupted.remote_id, "ses_1");
    assert_eq!(interrupted.notes, [("prt_1".to_owned(), 6)]);
    assert_eq!(turn_handle.session.log.last_event_id(), cut_id);
    assert_eq!(life.find("cut").await.status().state, State::Running);
    complete(turn_handle).await;
    let cut = life.find("cut").await;
    assert_eq!(cut.log.last_event_id().seq, cut_id.seq + 1);

    // What was made before is known: the id, the key, the order.
    let twice = life.registry.create(request("done")).await.unwrap_err();
    assert_eq!(twice, CreateError::Duplicate);
    let same = life.registry.create(with_key("done", "key", 1)).await;
    assert_eq!(same.unwrap().0.id, "done");
    let other = life.registry.create(with_key("new", "key", 2)).await;
    assert_eq!(other.unwrap_err(), CreateError::KeyReused);
    let (_, turn_handle) = life.create(request("third")).await;
    let list = life.registry.list(None, None, 2).await.unwrap();
    let ids: Vec<_> = list
        .0
        .iter()
        .map(|(_, session)| session.id.clone())
        .collect();
    assert_eq!((ids, list.1), (vec!["third".into(), "cut".into()], true));
    let failed = life.registry.list(None, Some("completed"), 9).await;
    assert_eq!(failed.unwrap().0.len(), 2);
    complete(turn_handle).await;
    life.end().await;
}

#[tokio::test]
async fn another_turn_goes_on_in_the_same_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, turn_handle) = life.create(request("a")).await;
    let busy = life
        .registry
        .prompt(&session, request("a"), OnBusy::Reject)
        .await
        .unwrap_err();
    assert_eq!(busy, CreateError::Running);
    complete(turn_handle).await;
    let first = session.log.last_event_id();

    let resuming = TaskTracker::new().spawn({
        let (registry, session) = (life.registry.clone(), session.clone());
        async move {
            registry
                .prompt(&session, request("a"), OnBusy::Reject)
                .await
        }
    });
    let Turn { kind, turn_handle } = life.take().await;
    assert!(matches!(kind, TurnKind::Prompt { .. }), "{kind:?}");
    assert_eq!(session.status().remote_id.as_deref(), Some("ses_1"));
    turn_handle.refuse(CreateError::RemoteGone);
    assert_eq!(
        resuming.await.unwrap().unwrap_err(),
        CreateError::RemoteGone
    );
    let status = session.status();
    assert_eq!((status.state, status.turn), (State::Completed, 1));
    assert_eq!(
        session.log.last_event_id(),
        first,
        "nothing came of it, and its readers are still at the end"
    );
    assert!(replay(&session, &first.to_string()).await.is_empty());

    let resuming = TaskTracker::new().spawn({
        let (registry, session) = (life.registry.clone(), session.clone());
        async move {
            registry
                .prompt(&session, request("a"), OnBusy::Reject)
                .await
        }
    });
    let turn_handle = life.take().await.turn_handle;
    turn_handle.accept("ses_1", Some("msg_9".into()));
    turn_handle.append(&running());
    resuming.await.unwrap().unwrap();
    assert_eq!(session.status().turn, 2);
    complete(turn_handle).await;
    let rest = replay(&session, &first.to_string()).await;
    assert_eq!(numbers(&rest), [first.seq + 1, first.seq + 2]);
    life.end().await;
    // The directory itself is the old journal's as long as anybody holds on to that.
    let dir = killed(&dir);

    let life = Life::begin(&dir).await;
    let session = life.find("a").await;
    assert_eq!(session.status().turn, 2);
    assert_eq!(session.status().before.as_deref(), Some("msg_9"));
    assert_eq!(session.log.last_event_id().seq, first.seq + 2);
}

#[tokio::test]
async fn while_nothing_can_be_written_sessions_begin_until_memory_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    // As a disk that hangs.
    let lock = rusqlite::Connection::open(dir.path().join("journal/sessions.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let large = |id: u32| Request {
        prompt: "x".repeat(4 << 20).as_str().into(),
        ..request(&id.to_string())
    };
    let mut turn_handles = Vec::new();
    let refused = loop {
        let next = large(u32::try_from(turn_handles.len()).unwrap());
        if life.journal.is_full() {
            break life.registry.create(next).await.unwrap_err();
        }
        assert!(turn_handles.len() < 12, "memory has a bound");
        turn_handles.push(life.create(next).await.1);
    };
    assert!(matches!(refused, CreateError::JournalUnavailable(_)));
    assert!(refused.to_string().contains("make room"), "{refused}");
    assert!(turn_handles.len() > 6, "{}", turn_handles.len());
    drop(lock);
    let mut health = life.journal.health();
    health.wait_for(|now| *now == Health::Well).await.unwrap();
    life.create(large(99)).await;
}

#[tokio::test]
async fn what_nobody_asks_for_leaves_memory_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, turn_handle) = life.create(request("a")).await;
    complete(turn_handle).await;
    let told = replay(&session, "earliest").await;
    let later = std::time::Instant::now() + Duration::from_mins(2);
    life.registry.unload(later);
    assert!(
        Arc::ptr_eq(&life.find("a").await, &session),
        "somebody holds it"
    );
    drop(session);
    life.registry.unload(later);
    let again = life.find("a").await;
    assert_eq!(again.log.bytes(), 0, "it was put back");
    assert_eq!(replay(&again, "earliest").await, told);
}

#[tokio::test]
async fn the_end_of_a_turn_is_to_be_reported_until_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (_, turn_handle) = life.create(request("a")).await;
    assert_eq!(life.registry.unreported(9).await.unwrap(), []);
    complete(turn_handle).await;
    life.end().await;

    let life = Life::begin(&dir).await;
    let reports = life.registry.unreported(9).await.unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(
        (&*reports[0].id, reports[0].turn, reports[0].state),
        ("a", 1, State::Completed)
    );
    life.registry.reported("a", 1).await.unwrap();
    assert_eq!(life.registry.unreported(9).await.unwrap(), []);
    life.end().await;
    let life = Life::begin(&dir).await;
    assert_eq!(life.registry.unreported(9).await.unwrap(), []);
}

#[tokio::test]
async fn the_end_of_a_turn_is_to_be_reported_also_when_the_next_one_has_begun() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, first) = life.create(request("a")).await;
    let sent = life.registry.prompt(&session, request("a"), OnBusy::Queue);
    sent.await.unwrap();
    let before = session.log.last_appended();
    complete(first).await;
    let second = life.take().await.turn_handle;
    second.accept("ses_1", None);
    text(&second, "more");
    session.log.shown_past(before + 1).await;
    let (copy, told) = (killed(&dir), session.log.id(before + 1).to_string());

    let mut life = Life::begin(&copy).await;
    let recovered = life.take().await.turn_handle;
    let reports = life.registry.unreported(9).await.unwrap();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(
        (reports[0].turn, reports[0].state, &reports[0].last_event_id),
        (1, State::Completed, &told)
    );
    assert!(life.registry.holds(&reports[0]));
    assert!(!life.registry.reported("a", 1).await.unwrap());
    assert_eq!(life.registry.unreported(9).await.unwrap(), []);
    complete(recovered).await;
    let reports = life.registry.unreported(9).await.unwrap();
    assert_eq!((reports.len(), reports[0].turn), (1, 2));
    life.end().await;
}

#[tokio::test]
async fn a_session_that_was_removed_is_gone_and_its_conversation_is_to_be_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin_with(&dir, Duration::from_millis(100)).await;
    let (session, turn_handle) = life.create(request("a")).await;
    complete(turn_handle).await;
    drop(session);
    let following = TaskTracker::new().spawn(
        life.registry
            .clone()
            .follow_retention(life.journal.take_removals()),
    );
    let remote_id = life.receivers.removals_rx.recv();
    let remote_id = tokio::time::timeout(Duration::from_secs(10), remote_id).await;
    assert_eq!(remote_id.unwrap().unwrap(), "ses_1");
    assert!(matches!(
        life.registry.find("a").await.unwrap(),
        Found::Gone
    ));
    following.abort();
}

#[tokio::test]
async fn what_happens_while_another_turn_is_about_to_begin_is_not_of_that_turn() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, turn_handle) = life.create(with_key("a", "key", 1)).await;
    complete(turn_handle).await;
    let resuming = TaskTracker::new().spawn({
        let (registry, session) = (life.registry.clone(), session.clone());
        async move {
            registry
                .prompt(&session, request("a"), OnBusy::Reject)
                .await
        }
    });
    let turn_handle = life.take().await.turn_handle;
    // The backend's answer comes late, and the client repeats its first request.
    life.registry.reported("a", 1).await.unwrap();
    let same = life.registry.create(with_key("a", "key", 1)).await;
    assert_eq!(same.unwrap().0.id, "a");
    // Retention was faster.
    let removed = journal::Removed {
        number: session.number,
        id: "a".into(),
        remote_id: Some("ses_1".into()),
    };
    let (removed_tx, removed_rx) = mpsc::channel(1);
    removed_tx.try_send(removed).unwrap();
    drop(removed_tx);
    life.registry.clone().follow_retention(removed_rx).await;
    assert!(life.receivers.removals_rx.try_recv().is_err());
    assert!(Arc::ptr_eq(&life.find("a").await, &session));
    let noted = async {
        while !life.journal.unreported(9).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), noted)
        .await
        .expect("the report to be noted");

    // The disk knows of one turn, which is over and was told.
    let copy = killed(&dir);
    let other = Life::begin(&copy).await;
    let stored = other.find("a").await;
    assert_eq!(
        (stored.status().turn, stored.status().state),
        (1, State::Completed)
    );
    assert_eq!(other.registry.unreported(9).await.unwrap(), []);

    // Nothing comes of the turn: now the session goes.
    turn_handle.refuse(CreateError::RemoteGone);
    resuming.await.unwrap().unwrap_err();
    assert_eq!(life.receivers.removals_rx.try_recv().unwrap(), "ses_1");
    let found = life.registry.find("a").await.unwrap();
    assert!(matches!(found, Found::Gone), "{found:?}");
}
