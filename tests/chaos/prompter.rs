//! A client that says one thing to a session, and says it again until it knows what came of it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Asked, Client, PATIENCE};
use crate::model;
use crate::plan::{OnBusy, Planned};

/// What a client knows of a prompt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) name: u32,
    /// When it was posted first, and when the first answer came.
    pub(crate) posted: Duration,
    pub(crate) answered: Duration,
    /// Turn and `status` of each 202.
    pub(crate) accepted: Vec<(u64, String)>,
    /// The code with which it was refused in the end.
    pub(crate) refused: Option<String>,
    /// A request to withdraw it was sent, and one was answered well.
    pub(crate) withdrawing: bool,
    pub(crate) withdrawn: bool,
    /// What should not have come.
    pub(crate) problem: Option<String>,
}

// === impl Told ===

impl Told {
    /// Its turn, or the one it is part of.
    pub(crate) fn turn(&self) -> Option<u64> {
        self.accepted.first().map(|(turn, _)| *turn)
    }

    pub(crate) fn is_steered(&self) -> bool {
        self.accepted.iter().any(|(_, status)| status == "steered")
    }

    pub(crate) fn all_steered(&self) -> bool {
        self.accepted.iter().all(|(_, status)| status == "steered")
    }
}

/// Waits for its time, and posts it until the answer is clear.
pub(crate) fn post(client: &Client, prompt: &Planned) -> Told {
    sleep((client.began + prompt.at).saturating_duration_since(Instant::now()));
    let mut told = Told {
        name: prompt.name,
        posted: client.began.elapsed(),
        ..Told::default()
    };
    if let Err(problem) = told.tell(client, prompt) {
        told.problem = Some(problem);
    }
    told
}

impl Told {
    fn tell(&mut self, client: &Client, prompt: &Planned) -> Result<(), String> {
        let path = client.path("/prompt");
        let key = format!("{}-{}", client.id, prompt.name);
        let mut body = json!({
            "prompt": model::prompt(prompt.name, prompt.steps),
            "on_busy": prompt.on_busy.as_str(),
        });
        let mut hangs_up = prompt.hangs_up;
        let mut again = prompt.again;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let text = body.to_string();
            let asked = Asked {
                method: "POST",
                path: &path,
                key: Some(&key),
                body: &text,
            };
            if let Some(patience) = hangs_up.take() {
                client.hang_up(asked, patience);
            }
            let answer = client.insist(asked)?.response;
            if answer.status == 202 {
                if self.accepted.is_empty() {
                    self.answered = client.began.elapsed();
                }
                self.accept(&answer.json());
                if std::mem::take(&mut again) {
                    continue;
                }
                return self.withdraw(client, prompt);
            }
            let code = answer.json()["code"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let is_keyless = code == "credentials_required" && body["model_config"].is_null();
            if is_keyless && self.accepted.is_empty() {
                // The sidecar or the session was ended since. A turn that runs cannot be given a key.
                body["model_config"] = client.model_config();
                if prompt.on_busy == OnBusy::Steer {
                    body["on_busy"] = "queue".into();
                }
                continue;
            }
            let is_gone = matches!(answer.status, 404 | 410) && client.lossy;
            // A stop or an interrupting prompt may come while its turn begins.
            let is_cancelled = answer.body.contains("cancelled before it had begun");
            if !is_gone && !is_cancelled {
                return Err(format!("prompt {} was answered with {answer:?}", self.name));
            }
            self.refused = Some(code);
            return Ok(());
        }
        Err(format!("prompt {} gets no answer that stays", self.name))
    }

    fn accept(&mut self, answer: &Value) {
        let turn = answer["turn"].as_u64().unwrap_or_default();
        let status = answer["status"].as_str().unwrap_or_default().to_owned();
        self.accepted.push((turn, status));
    }

    fn withdraw(&mut self, client: &Client, prompt: &Planned) -> Result<(), String> {
        let waits = |(turn, status): &(u64, String)| (status == "queued").then_some(*turn);
        let Some(turn) = self.accepted.last().and_then(waits) else {
            return Ok(());
        };
        if !prompt.withdrawn {
            return Ok(());
        }
        self.withdrawing = true;
        let answer = client.insist(Asked {
            method: "DELETE",
            path: &client.path(&format!("/queue/{turn}")),
            key: None,
            body: "",
        })?;
        self.withdrawn = answer.response.status == 200;
        // Its turn may have begun, and a question before this one may have been heard.
        let is_known = matches!(answer.response.status, 200 | 404 | 410);
        let problem = format!("prompt {} is withdrawn with {answer:?}", self.name);
        is_known.then_some(()).ok_or(problem)
    }
}
