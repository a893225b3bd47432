//! Plays a recording as the driver would: decodes, translates, and decides about ends.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::driver::ending::{Decision, Observation, decide};
use crate::driver::translate::{Settings, Signal, Translator};
use crate::event::{Body, Event};
use crate::opencode::sse::{Decoder, Frame, MAX_EVENT};
use crate::opencode::types as oc;

use super::harness::asking;
use super::shorten::{name_ids, shorten};

/// The recordings in which the caller stopped the turn.
const CANCELLED: [&str; 4] = [
    "cap_sub_abort",
    "hang_llm",
    "vii_a_abort_stream",
    "vii_b_abort_bash",
];

#[derive(Clone)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) lines: Vec<Line>,
    /// The session the recording is about.
    pub(crate) root: String,
}

#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    /// The envelope, as it stood behind `data: `.
    pub(crate) json: String,
}

impl Recording {
    pub(crate) fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(format!("tests/recordings/{name}.jsonl")).unwrap();
        let created = text.split_once("\"created\":").unwrap().1.trim_start();
        let digits = created.find(|c: char| !c.is_ascii_digit()).unwrap();
        let base: u64 = created.get(..digits).unwrap().parse().unwrap();
        let mut first = None;
        let lines: Vec<Line> = text
            .lines()
            .map(|line| {
                // Each line begins with the time, which the real stream does not have.
                let (time, rest) = line
                    .strip_prefix("{\"t\": ")
                    .unwrap()
                    .split_once(", ")
                    .unwrap();
                let time: f64 = time.parse().unwrap();
                let after = Duration::from_secs_f64(time - *first.get_or_insert(time));
                Line {
                    at: Timestamp::from_millis(base).after(after),
                    json: format!("{{{rest}"),
                }
            })
            .collect();
        let root = lines.iter().find_map(|line| {
            let event = oc::decode(line.json.as_bytes()).unwrap();
            event.session().map(str::to_owned)
        });
        Self {
            name: name.to_owned(),
            lines,
            root: root.unwrap(),
        }
    }

    pub(crate) fn stream(&self) -> String {
        let mut stream = String::new();
        for line in &self.lines {
            write!(stream, "data: {}\n\n", line.json).unwrap();
        }
        stream
    }

    /// What `/sync/history` would answer: the durable twins.
    pub(crate) fn history(&self) -> Vec<oc::HistoryItem> {
        let twins = self.lines.iter().filter_map(|line| {
            let (_, twin) = line.json.split_once("\"syncEvent\"")?;
            let (_, twin) = twin.split_once(':')?;
            let twin = serde_json::Deserializer::from_str(twin)
                .into_iter::<&RawValue>()
                .next()?;
            Some(
                twin.unwrap()
                    .get()
                    .replacen("\"aggregateID\"", "\"aggregate_id\"", 1),
            )
        });
        let body = format!("[{}]", twins.collect::<Vec<_>>().join(","));
        oc::history(body.as_bytes()).unwrap()
    }
}

/// A driver without a child: what it knows of OpenCode comes from the events.
pub(crate) struct Player {
    pub(crate) translator: Translator,
    pub(crate) events: Vec<Event>,
    pub(crate) signals: Vec<Signal>,
    root: String,
    began: Timestamp,
    cancelled: bool,
    status: oc::SessionStatus,
    last: Option<oc::MessageInfo>,
    asked: u32,
    pub(crate) running: bool,
    /// Turns so far.
    pub(crate) begun: usize,
    /// Where each event is in `events`, as the transcript shows signals between them.
    signals_at: Vec<usize>,
}

/// Plays all of it.
pub(crate) fn run(recording: &Recording) -> Player {
    let mut player = Player::new(recording);
    for line in &recording.lines {
        player.frame(line.json.as_bytes(), line.at);
    }
    player.close(recording);
    player
}

impl Player {
    pub(crate) fn new(recording: &Recording) -> Self {
        let settings = Settings {
            root: recording.root.clone(),
            directory: "/workspace".into(),
            loop_limit: 3,
        };
        let mut translator = Translator::new(settings, None);
        translator.asks = asking();
        let mut player = Self {
            translator,
            events: Vec::new(),
            signals: Vec::new(),
            root: recording.root.clone(),
            began: recording.lines[0].at,
            cancelled: CANCELLED.contains(&&*recording.name),
            status: oc::SessionStatus::Idle,
            last: None,
            asked: 0,
            running: false,
            begun: 0,
            signals_at: Vec::new(),
        };
        player.begin(recording.lines[0].at);
        player
    }

    fn begin(&mut self, now: Timestamp) {
        self.translator.begin_turn(now);
        (self.last, self.asked, self.running) = (None, 0, true);
        self.begun += 1;
        self.take();
    }

    pub(crate) fn frame(&mut self, json: &[u8], now: Timestamp) {
        self.event(oc::decode(json).unwrap(), now);
    }

    pub(crate) fn event(&mut self, event: oc::Event, now: Timestamp) {
        self.notice(&event, now);
        self.translator.apply(event, now);
        let mut signals = self.translator.signals.iter();
        let ask = signals.any(|signal| matches!(signal, Signal::Idle | Signal::Failed));
        self.take();
        if ask {
            self.asked = 0;
            self.judge(now);
        }
    }

    /// What the driver would learn by asking OpenCode.
    pub(crate) fn notice(&mut self, event: &oc::Event, now: Timestamp) {
        match event {
            oc::Event::Status { session, status } if *session == self.root => {
                self.status = status.clone();
            }
            oc::Event::Message(info) if info.session == self.root => {
                let newer = self.last.as_ref().is_none_or(|last| *last.id <= *info.id);
                let prompt = info.role == oc::Role::User && newer;
                if prompt && !self.running && self.last.as_ref().is_none_or(|l| l.id != info.id) {
                    self.begin(now);
                }
                if newer {
                    self.last = Some(copy(info));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn judge(&mut self, now: Timestamp) {
        let observed = Observation {
            status: &self.status,
            last: self.last.as_ref(),
            error: self.translator.turn_error(),
            cancelled: self.cancelled,
            asked: self.asked,
            task_done: false,
        };
        if let Decision::Ended(end) = decide(&observed) {
            self.translator.finish(end, true, now);
            self.running = false;
            self.take();
        }
    }

    /// After a lost connection the driver asks for the status, and judges if it is idle.
    pub(crate) fn reread_status(&mut self, before: &Recording, now: Timestamp) {
        let status = before.lines.iter().rev().find_map(|line| {
            match oc::decode(line.json.as_bytes()).unwrap() {
                oc::Event::Status { session, status } if session == self.root => Some(status),
                _ => None,
            }
        });
        self.status = status.unwrap_or(oc::SessionStatus::Idle);
        self.judge(now);
    }

    /// The recording is over: a driver that asks again gets the same answers for ever.
    pub(crate) fn close(&mut self, recording: &Recording) {
        self.asked = u32::MAX;
        let end = recording.lines.last().unwrap().at;
        self.judge(end.after(Duration::from_secs(6)));
    }

    pub(crate) fn take(&mut self) {
        let signals = std::mem::take(&mut self.translator.signals);
        self.signals_at
            .extend(signals.iter().map(|_| self.events.len()));
        self.signals.extend(signals);
        self.events.append(&mut self.translator.events);
    }

    /// The text a client has, per source, agent and call.
    pub(crate) fn texts(&self) -> HashMap<(String, String), String> {
        let mut texts = HashMap::new();
        for event in &self.events {
            if let Body::Output(output) = &event.body {
                let agent = event.agent.as_ref().map(|agent| agent.id.clone());
                let by = output
                    .call_id
                    .as_deref()
                    .unwrap_or(output.source.into_str())
                    .to_owned();
                let text: &mut String = texts.entry((agent.unwrap_or_default(), by)).or_default();
                text.push_str(&output.text);
            }
        }
        texts
    }

    pub(crate) fn transcript(&self) -> String {
        let mut text = String::new();
        let mut signals = self.signals.iter().zip(&self.signals_at).peekable();
        for index in 0..=self.events.len() {
            while let Some((signal, _)) = signals.next_if(|(_, at)| **at == index) {
                writeln!(text, "          -> {signal:?}").unwrap();
            }
            let Some(event) = self.events.get(index) else {
                break;
            };
            let after = event.at.since(self.began).as_secs_f64();
            for encoded in event.encode(1) {
                let mut value: Value = serde_json::from_str(&encoded.data).unwrap();
                let fields = value.as_object_mut().unwrap();
                assert_eq!(fields.remove("turn"), Some(1.into()));
                let timestamp = fields.remove("timestamp");
                assert_eq!(timestamp, Some(event.at.to_string().into()));
                shorten(&mut value);
                let mark = if encoded.terminal { "END " } else { "" };
                writeln!(text, "{after:8.3}  {mark}{} {value}", encoded.kind).unwrap();
            }
        }
        name_ids(&text)
    }
}

fn copy(info: &oc::MessageInfo) -> oc::MessageInfo {
    oc::MessageInfo {
        id: info.id.clone(),
        session: info.session.clone(),
        role: info.role,
        summary: info.summary,
        completed: info.completed,
        finish: info.finish.clone(),
        error: info.error.clone(),
    }
}

/// The frames of a stream that arrives in pieces of these sizes.
pub(crate) fn frames(stream: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut decoder = Decoder::new(MAX_EVENT);
    let (mut rest, mut frames) = (stream, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        decoder.push(piece);
        while let Some(frame) = decoder.next() {
            let Frame::Data(data) = frame else {
                panic!("no recorded event is too long")
            };
            frames.push(data.to_vec());
        }
        rest = after;
    }
    frames
}
