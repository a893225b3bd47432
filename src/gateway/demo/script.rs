//! The script of the demo model: lines to steps. Pure. The syntax is in the header of [`super`].

use http::StatusCode;

/// One step of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Text(String),
    Reasoning(String),
    Tool {
        name: String,
        arguments: String,
    },
    Stream {
        chunks: u32,
        delay_ms: u32,
    },
    Wait {
        ms: u32,
    },
    Error {
        status: StatusCode,
        retry_after: u32,
        message: String,
    },
    Drop,
    Hang,
}

/// The steps, by call of the model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script(Vec<Vec<Step>>);

const FENCE: &str = "```";
/// No pause of a demo is longer.
const MAX_MS: u32 = 600_000;

const HELLO: &str = "This is a demo: no model is asked, a fixed script plays on the real OpenCode.";
const DONE: &str = "That was the demo. With a provider and a key, a model does the work.";

/// What the default script does: the tool it needs, what it says before, the tool's arguments.
const DEFAULT: [(&str, &str, &str); 3] = [
    (
        "bash",
        "I list the workspace.",
        r#"{"command":"ls -la","description":"List the workspace"}"#,
    ),
    (
        "write",
        "I write a small file.",
        r##"{"filePath":"demo.md","content":"# Demo\n\nThe demo model of opencode-sidecar wrote this file.\n"}"##,
    ),
    ("read", "I read it back.", r#"{"filePath":"demo.md"}"#),
];

// === impl Script ===

impl Script {
    /// The script in `prompt`, if it holds one.
    pub(super) fn of_prompt(prompt: &str) -> Option<Self> {
        let mut lines = prompt.lines();
        lines.find(|line| {
            line.trim()
                .strip_prefix(FENCE)
                .is_some_and(|mark| mark.trim() == "script")
        })?;
        let block: Vec<&str> = lines
            .map(str::trim)
            .take_while(|line| !line.starts_with(FENCE))
            .collect();
        Some(Self::parse(&block))
    }

    /// What is played without a script, with the tools that are there.
    pub(super) fn default_for(offered: &[&str]) -> Self {
        let mut steps = vec![
            Step::Stream {
                // A sentence at a time: it is read in a terminal, one event per line.
                chunks: 1,
                delay_ms: 100,
            },
            Step::Text(HELLO.to_owned()),
        ];
        for (tool, text, arguments) in DEFAULT.iter().filter(|(tool, ..)| offered.contains(tool)) {
            steps.push(Step::Text(format!(" {text}")));
            steps.push(Step::Tool {
                name: (*tool).to_owned(),
                arguments: (*arguments).to_owned(),
            });
        }
        steps.push(Step::Text(DONE.to_owned()));
        Self::of_steps(steps)
    }

    /// The steps of the call after `answers` earlier ones.
    pub(super) fn call(self, answers: usize) -> Vec<Step> {
        let over = || vec![Step::Text("The script is over.".to_owned())];
        self.0.into_iter().nth(answers).unwrap_or_else(over)
    }

    fn parse(lines: &[&str]) -> Self {
        let mut steps = Vec::new();
        for line in lines
            .iter()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            match parse_line(line) {
                Some(step) => steps.push(step),
                None => {
                    return Self(vec![vec![Step::Text(format!(
                        "The script cannot be read at: {line}"
                    ))]]);
                }
            }
        }
        Self::of_steps(steps)
    }

    /// Cuts after each block of tools. How texts are streamed carries over.
    fn of_steps(steps: Vec<Step>) -> Self {
        let mut calls = vec![Vec::new()];
        let mut manner = None;
        let mut after_tool = false;
        for step in steps {
            let is_tool = matches!(step, Step::Tool { .. });
            if after_tool && !is_tool {
                calls.push(manner.iter().cloned().collect());
            }
            after_tool = is_tool;
            if matches!(step, Step::Stream { .. }) {
                manner = Some(step.clone());
            }
            if let Some(call) = calls.last_mut() {
                call.push(step);
            }
        }
        Self(calls)
    }
}

fn parse_line(line: &str) -> Option<Step> {
    let (word, rest) = split(line);
    match word {
        "text" => Some(Step::Text(unescape(rest))),
        "reasoning" => Some(Step::Reasoning(unescape(rest))),
        "tool" => {
            let (name, arguments) = split(rest);
            let arguments = if arguments.is_empty() {
                "{}"
            } else {
                arguments
            };
            let valid = !name.is_empty()
                && serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok();
            valid.then(|| Step::Tool {
                name: name.to_owned(),
                arguments: arguments.to_owned(),
            })
        }
        "stream" => {
            let (chunks, delay) = split(rest);
            let delay_ms = if delay.is_empty() {
                0
            } else {
                delay.parse().ok()?
            };
            Some(Step::Stream {
                chunks: chunks.parse().ok()?,
                delay_ms,
            })
            .filter(|_| delay_ms <= MAX_MS)
        }
        "wait" => rest
            .parse()
            .ok()
            .filter(|ms| *ms <= MAX_MS)
            .map(|ms| Step::Wait { ms }),
        "error" => {
            let (status, rest) = split(rest);
            let (retry_after, message) = split(rest);
            let status = status
                .parse()
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok())?;
            let failed = status.is_client_error() || status.is_server_error();
            let retry_after = if retry_after.is_empty() {
                0
            } else {
                retry_after.parse().ok()?
            };
            failed.then(|| Step::Error {
                status,
                retry_after,
                message: message.to_owned(),
            })
        }
        "drop" if rest.is_empty() => Some(Step::Drop),
        "hang" if rest.is_empty() => Some(Step::Hang),
        _ => None,
    }
}

fn split(line: &str) -> (&str, &str) {
    line.split_once(char::is_whitespace)
        .map_or((line, ""), |(word, rest)| (word, rest.trim()))
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_read_and_tools_end_a_call() {
        let prompt = "Please:\n```script\n# hello\nstream 3 5\nreasoning hm\ntext a\\nb\ntool bash {\"command\":\"ls\"}\ntool todoread\n\nwait 10\nerror 429 2 slow down\ntext end\ndrop\nhang\n```\nafter";
        let Script(calls) = Script::of_prompt(prompt).unwrap();
        let manner = Step::Stream {
            chunks: 3,
            delay_ms: 5,
        };
        assert_eq!(
            calls,
            [
                vec![
                    manner.clone(),
                    Step::Reasoning("hm".into()),
                    Step::Text("a\nb".into()),
                    Step::Tool {
                        name: "bash".into(),
                        arguments: r#"{"command":"ls"}"#.into()
                    },
                    Step::Tool {
                        name: "todoread".into(),
                        arguments: "{}".into()
                    },
                ],
                vec![
                    manner,
                    Step::Wait { ms: 10 },
                    Step::Error {
                        status: StatusCode::TOO_MANY_REQUESTS,
                        retry_after: 2,
                        message: "slow down".into()
                    },
                    Step::Text("end".into()),
                    Step::Drop,
                    Step::Hang,
                ],
            ]
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_is_said() {
        for line in [
            "tool bash {",
            "stream x",
            "error 200",
            "wait -1",
            "wait 600001",
            "dance",
            "drop it",
        ] {
            let Script(calls) = Script::parse(&["text fine", line]);
            assert_eq!(
                calls,
                [vec![Step::Text(format!(
                    "The script cannot be read at: {line}"
                ))]]
            );
        }
    }

    #[test]
    fn a_prompt_without_a_block_has_no_script() {
        assert_eq!(Script::of_prompt("write a script\n```sh\nls\n```"), None);
    }

    #[test]
    fn the_default_uses_the_tools_that_are_there_and_says_what_it_is_first() {
        let Script(calls) = Script::default_for(&["read", "bash"]);
        assert_eq!(calls.len(), 3);
        assert_eq!(calls[0][1], Step::Text(HELLO.into()));
        assert_eq!(
            Script::default_for(&[]).call(0).last(),
            Some(&Step::Text(DONE.into()))
        );
    }
}
