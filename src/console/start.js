// The first page: what the agent should do, and how this sidecar is.

import { about, call, Refused } from "./api.js";
import { button, h, icon } from "./dom.js";
import { rememberModel, rememberPrompt, rememberSetup } from "./memory.js";
import { modelFields } from "./setup.js";

const DEMO = "Show what you can do: look around in the workspace, write a file, and read it back.";

export function startView() {
  const prompt = h("textarea", { id: "prompt", rows: 4, dir: "auto", placeholder: "Fix the failing test in …", "aria-label": "Prompt" });
  const fields = modelFields();
  const problem = h("p", { class: "bad", role: "alert" });
  const submit = async (event) => {
    event?.preventDefault();
    if (!prompt.value.trim()) {
      prompt.focus();
      return;
    }
    const config = fields.read();
    const rest = fields.rest();
    rememberSetup(config);
    problem.textContent = "";
    form.classList.add("busy");
    try {
      await begin(prompt.value, config, { rest });
    } catch (error) {
      problem.textContent = words(error);
      fields.blame(error.field);
    } finally {
      form.classList.remove("busy");
    }
  };
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  });
  const form = h("form", { class: "composer start", onsubmit: submit }, prompt, fields.element, problem,
    h("div", { class: "actions" },
      about().demo_model && button("play", "Run the demo", () => demo(problem), { id: "demo" }),
      h("span", { class: "grow" }), h("kbd", { class: "wide-only" }, "Ctrl ↵"),
      h("button", { type: "submit", class: "primary" }, icon("send"), "Start")));
  const element = h("section", { class: "start-view", "aria-labelledby": "start-title" },
    h("h1", { id: "start-title" }, "What should the agent do?"), form,
    about().demo_model ? h("p", { class: "muted hint" }, "The demo needs no key and no network: a scripted model works in the real workspace.")
      : h("p", { class: "muted hint" }, "DEMO_MODEL=on adds a model that needs no key, to try this out."));
  return { element, shown: () => prompt.focus({ preventScroll: true }), close() {} };
}

async function demo(problem) {
  problem.textContent = "";
  try {
    await begin(DEMO, { provider: "demo", model: "demo" }, { name: "demo" });
  } catch (error) {
    problem.textContent = words(error);
  }
}

const words = (error) => (error instanceof Refused ? error.message : "The sidecar does not answer; nothing was started.");

/** Creates the session and goes to it. Its id is made of its first words, so that the list can be read. */
async function begin(prompt, config, { name = prompt, rest = {} } = {}) {
  const words = name.toLowerCase().normalize("NFKD").replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 40).replace(/-[^-]*$/, (rest) => (name.length > 40 ? "" : rest));
  const random = Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => (byte % 36).toString(36)).join("");
  const id = `${words || "session"}-${random}`;
  const title = prompt.trim().split("\n")[0].slice(0, 120);
  // Before the answer, so that the session's page shows it from its first moment.
  rememberPrompt(id, 1, prompt);
  const body = { session_id: id, title, prompt, model_config: config, ...rest };
  const answer = await call("POST", "sessions", body, { "idempotency-key": id });
  rememberModel(answer.session_id, config);
  location.hash = `#/s/${encodeURIComponent(answer.session_id)}`;
}
