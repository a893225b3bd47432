//! The client that makes a session, stops it, resumes it, and tells how it ended; others speak to it meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::answerer::{self, Given};
use crate::client::{Asked, Client, PATIENCE, PAUSE};
use crate::dice::Dice;
use crate::model;
use crate::plan::{Held, Work};
use crate::prompter::{self, Told};

/// Calls of the model that the first prompt takes.
const STEPS: u32 = 3;

/// How long the agent waits for an answer that nobody gives.
const ASK_TIMEOUT_SECS: u32 = 2;

/// How a session ended, as its status says it.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Ended(Value),
    /// It is not there any more.
    Vanished,
    Stuck(String),
}

/// All that was asked of a session, and how it ended.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) outcome: Outcome,
    pub(crate) told: Vec<Told>,
    pub(crate) given: Vec<Given>,
    /// Turns that a resume began.
    pub(crate) resumed: Vec<u64>,
    /// The answer to a resume was lost, so nobody knows what it began.
    pub(crate) unsure: bool,
}

#[derive(Debug)]
pub(crate) struct Owner {
    client: Client,
    work: Work,
    dice: Dice,
    resumed: Vec<u64>,
    unsure: bool,
}

fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn queue(status: &Value) -> &[Value] {
    status["queue"].as_array().map_or(&[], Vec::as_slice)
}

/// Waits for the end of the session, and stops it when its time has come.
pub(crate) fn end(client: &Client, stop: &mut Option<Duration>) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    let mut last = None;
    while Instant::now() < deadline {
        if stop.is_some_and(|stop| client.began.elapsed() >= stop) {
            *stop = None;
            // Whether it is heard or not: the next status tells.
            client.ask(Asked {
                method: "POST",
                path: &client.path("/stop"),
                key: None,
                body: "",
            });
        }
        let answer = client.get("/status");
        if let Some(answer) = &answer {
            if answer.status == 404 && client.lossy {
                return Outcome::Vanished;
            }
            if !matches!(answer.status, 200 | 503) {
                return Outcome::Stuck(format!("the status was answered with {answer:?}"));
            }
            if answer.status == 200 && is_idle(&answer.json()) {
                return Outcome::Ended(answer.json());
            }
        }
        last = answer.or(last);
        sleep(PAUSE);
    }
    Outcome::Stuck(format!("the turn does not end in {PATIENCE:?}: {last:?}"))
}

/// Nothing runs, and nothing that waits could run.
fn is_idle(status: &Value) -> bool {
    let ended = ["completed", "failed", "cancelled"];
    let held = |prompt: &Value| field(prompt, "state") == "held";
    ended.contains(&field(status, "status")) && queue(status).iter().all(held)
}

// === impl Owner ===

impl Owner {
    pub(crate) const fn new(client: Client, work: Work, dice: Dice) -> Self {
        Self {
            client,
            work,
            dice,
            resumed: Vec::new(),
            unsure: false,
        }
    }

    pub(crate) fn run(mut self) -> Story {
        let mut told = Vec::new();
        let ended = Arc::<AtomicBool>::default();
        let answerers: Vec<JoinHandle<Vec<Given>>> = (0..self.work.answerers)
            .map(|_| {
                let (client, ended) = (self.client.clone(), Arc::clone(&ended));
                let dice = Dice::new(self.dice.next(), &[]);
                thread::spawn(move || answerer::answer(&client, dice, &ended))
            })
            .collect();
        let outcome = self.live(&mut told).unwrap_or_else(Outcome::Stuck);
        ended.store(true, Ordering::Relaxed);
        let given = answerers.into_iter().flat_map(|one| one.join().unwrap());
        Story {
            outcome,
            told,
            given: given.collect(),
            resumed: self.resumed,
            unsure: self.unsure,
        }
    }

    fn live(&mut self, told: &mut Vec<Told>) -> Result<Outcome, String> {
        self.create()?;
        let mut prompters: Vec<JoinHandle<Told>> = Vec::new();
        for prompt in self.work.prompts.clone() {
            let client = self.client.clone();
            prompters.push(thread::spawn(move || prompter::post(&client, &prompt)));
        }
        let (mut resumes, mut stop) = (self.work.resumes, self.work.stop);
        let mut held = self.work.held;
        loop {
            let heard = prompters.iter().all(JoinHandle::is_finished);
            let status = match end(&self.client, &mut stop) {
                Outcome::Ended(status) => status,
                other => {
                    told.extend(prompters.into_iter().map(|one| one.join().unwrap()));
                    return Ok(other);
                }
            };
            if !heard {
                // What they say may begin another turn.
                sleep(PAUSE);
                continue;
            }
            told.extend(prompters.drain(..).map(|one| one.join().unwrap()));
            let never_began = status["remote_session_id"].is_null();
            if !queue(&status).is_empty() && held != Held::Leave && !never_began {
                match held {
                    Held::Prompt => {
                        let release = prompter::post(&self.client, &self.work.release());
                        told.push(release);
                        // Whether it released them or was refused, it is said once.
                        held = Held::Resume;
                    }
                    _ if self.resume()? => {}
                    _ => return Ok(Outcome::Ended(status)),
                }
                continue;
            }
            // A completed session can go on too, but it has nothing more to do.
            if resumes == 0 || status["status"] == "completed" || never_began {
                return Ok(Outcome::Ended(status));
            }
            resumes -= 1;
            if !self.resume()? {
                return Ok(Outcome::Ended(status));
            }
        }
    }

    /// A client that heard nothing asks again with the same idempotency key: one session, not two.
    fn create(&self) -> Result<(), String> {
        let mut body = json!({
            "session_id": self.work.id, "prompt": model::prompt(0, STEPS),
            "model_config": self.client.model_config(),
        });
        if self.work.answerers > 0 {
            body["model_config"]["permission_mode"] = "ask".into();
            body["model_config"]["questions"] = true.into();
            body["model_config"]["ask_timeout_secs"] = ASK_TIMEOUT_SECS.into();
        }
        let answer = self.client.insist(Asked {
            method: "POST",
            path: "/sessions",
            key: Some(&self.work.id),
            body: &body.to_string(),
        })?;
        let is_created = answer.response.status == 201;
        let problem = format!("the session was not made: {answer:?}");
        is_created.then_some(()).ok_or(problem)
    }

    /// Whether another turn runs; `false` if there is nothing to go on with.
    fn resume(&mut self) -> Result<bool, String> {
        let body = json!({ "model_config": self.client.model_config() }).to_string();
        let answer = self.client.insist(Asked {
            method: "POST",
            path: &self.client.path("/resume"),
            key: None,
            body: &body,
        })?;
        self.unsure |= answer.unheard;
        let response = answer.response;
        match response.status {
            200 => {
                let turn = response.json()["turn"].as_u64();
                self.resumed.extend(turn);
                Ok(true)
            }
            // That is the answer too if our first question was heard and its answer was not.
            409 => Ok(response.body.contains("runs") || response.body.contains("is running")),
            404 if self.client.lossy => Ok(false),
            _ => Err(format!("a resume was answered with {response:?}")),
        }
    }
}
