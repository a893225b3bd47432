// The box at the bottom of a session: the next prompt, or a word to the turn that runs.

import { withModel } from "./actions.js";
import { at, call } from "./api.js";
import { announce, h, icon, oneLine, replace } from "./dom.js";
import { rememberPrompt } from "./memory.js";

const MODES = { queue: ["Queue", "Runs after the present turn"], steer: ["Steer", "Reaches the running turn at its next model call"], interrupt: ["Interrupt", "Ends the running turn and begins at once"] };

export function promptBox(session) {
  let mode = "queue";
  let running = false;
  let queued = "";
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
    modes.hidden = !running;
    text.placeholder = running ? MODES[mode][1] : "What next?";
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
    const answer = await withModel(session.id, (config) => call("POST", at`sessions/${session.id}/prompt`, { prompt: words, on_busy: mode, ...(config && { model_config: config }) }));
    if (answer === false) return false;
    if (answer.status !== "steered") rememberPrompt(session.id, answer.turn, words);
    session.sent(answer, words);
    return true;
  }

  return {
    element: form,
    focus: () => text.focus(),
    update(status) {
      const now = ["pending", "running", "waiting_input"].includes(status?.status);
      const entries = status?.queue ?? [];
      const entriesNow = JSON.stringify(entries);
      // Buttons are left alone while nothing changes, so that none goes away under a finger.
      if (entriesNow !== queued) replace(queue, entries.map((entry) => h("li", {}, icon("clock"), h("span", { class: "ellipsis" }, `Turn ${entry.turn} ${entry.state === "held" ? "waits for an API key" : "waits"}${entry.text ? `: ${oneLine(entry.text, 80)}` : ""}`),
        h("button", { type: "button", class: "quiet", onclick: () => session.act(() => call("DELETE", at`sessions/${session.id}/queue/${String(entry.turn)}`), "Withdrawn") }, "Withdraw"))));
      queued = entriesNow;
      running = now;
      setWords();
    },
  };
}
