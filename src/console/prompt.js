// The box at the bottom of a session: the next prompt, or a word to the turn that runs.

import { at, call, has, Refused } from "./api.js";
import { announce, h, icon, oneLine, replace } from "./dom.js";
import { model, rememberModel, rememberPrompt } from "./memory.js";
import { askForModel } from "./setup.js";

const PROMPT = "/sessions/{id}/prompt";
const MODES = { queue: ["Queue", "Runs after the present turn"], steer: ["Steer", "Reaches the running turn at its next model call"], interrupt: ["Interrupt", "Ends the running turn and begins at once"] };

export function promptBox(session) {
  let mode = "queue";
  let running = false;
  const text = h("textarea", { rows: 1, dir: "auto", "aria-label": "Prompt", id: "follow-up" });
  const modes = h("div", { class: "segments", role: "radiogroup", "aria-label": "While a turn runs" }, Object.entries(MODES).map(([name, [label, title]]) =>
    h("button", { type: "button", role: "radio", "aria-checked": String(name === mode), title, "data-mode": name, onclick: () => choose(name) }, label)));
  const send = h("button", { type: "submit", class: "primary" }, icon("send"), h("span", {}, "Send"));
  const queue = h("ul", { class: "queue" });
  const form = h("form", { class: "composer follow-up", onsubmit: (event) => { event.preventDefault(); submit(); } },
    queue, text, h("div", { class: "actions" }, modes, send));
  const choose = (name) => {
    mode = name;
    for (const one of modes.children) one.setAttribute("aria-checked", String(one.dataset.mode === name));
    setWords();
  };
  const grow = () => {
    text.style.height = "auto";
    text.style.height = `${Math.min(220, text.scrollHeight)}px`;
  };
  const setWords = () => {
    const able = has("POST", PROMPT);
    modes.hidden = !running || !able;
    text.disabled = running && !able;
    send.disabled = text.disabled;
    text.placeholder = !running ? "What next?" : able ? MODES[mode][1] : "This sidecar takes the next prompt when the turn has ended";
  };
  text.addEventListener("input", grow);
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });

  async function submit() {
    const words = text.value;
    if (!words.trim() || form.classList.contains("busy")) return;
    form.classList.add("busy");
    try {
      if (await deliver(words)) {
        text.value = "";
        grow();
      }
    } catch (error) {
      announce(error.message, "error");
    } finally {
      form.classList.remove("busy");
    }
  }

  /** Whether it was sent; a person may decide not to when asked for the key. */
  async function deliver(words) {
    const key = crypto.getRandomValues(new Uint32Array(4)).join("-");
    let config = has("POST", PROMPT) ? undefined : model(session.id) ?? (await askForModel("The sidecar keeps no key after a turn."));
    if (config === null) return false;
    for (;;) {
      try {
        const answer = has("POST", PROMPT)
          ? await call("POST", at`sessions/${session.id}/prompt`, { prompt: words, on_busy: mode, ...(config && { model_config: config }) }, { "idempotency-key": `${key}${config ? "-again" : ""}` })
          : await call("POST", at`sessions/${session.id}/resume`, { prompt: words, model_config: config });
        if (config) rememberModel(session.id, config);
        session.sent(answer, words);
        if (answer.status !== "steered") rememberPrompt(session.id, answer.turn, words);
        return true;
      } catch (error) {
        if (!(error instanceof Refused) || error.code !== "credentials_required" || config) throw error;
        config = model(session.id) ?? (await askForModel(error.message));
        if (config === null) return false;
      }
    }
  }

  return {
    element: form,
    focus: () => text.focus(),
    update(status) {
      const now = ["pending", "running", "waiting_input"].includes(status?.status);
      const entries = status?.queue ?? [];
      replace(queue, entries.map((entry) => h("li", {}, icon("clock"), h("span", { class: "ellipsis" }, `Turn ${entry.turn} ${entry.state === "held" ? "is held: it needs a key" : "waits"}${entry.text ? `: ${oneLine(entry.text, 80)}` : ""}`),
        h("button", { type: "button", class: "quiet", onclick: () => session.act(() => call("DELETE", at`sessions/${session.id}/queue/${String(entry.turn)}`), "Withdrawn") }, "Withdraw"))));
      if (running !== now) running = now;
      setWords();
    },
  };
}
