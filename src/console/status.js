// What the status of a session says, in words.

import { oneLine } from "./dom.js";
import { clock } from "./format.js";

export const active = (session) => ["pending", "running", "waiting_input"].includes(session.status);

const PHASES = {
  provider_retry: "The provider failed and is asked again",
  compacting: "The conversation is being compacted",
  stalled: "Nothing has happened for a while",
  recovering: "The agent's process died; the turn goes on in the next one",
  journal_degraded: "The journal cannot be written; events are shown from memory",
};

export const phase = (name) => PHASES[name] ?? name;

const WORDS = { pending: "begins", running: "running", waiting_input: "waits for you", completed: "completed", failed: "failed", cancelled: "cancelled" };

export const statusWord = (status) => WORDS[status] ?? status;

/** A sentence of the sidecar as a person reads it: it begins with a capital letter, and a moment in it is a time of the day. */
export function sentence(text, most = 300) {
  const line = oneLine(text ?? "", most).replace(/\d{4}-\d\d-\d\dT[\d:]+(?:\.\d+)?Z/g, (moment) => clock(Date.parse(moment)));
  return line.slice(0, 1).toUpperCase() + line.slice(1);
}

/** What a session does or why it ended, in one sentence. `told` is what the sidecar says of it. */
export function diagnosis(session, told = null) {
  if (session.status === "waiting_input") {
    const [ask] = session.asks ?? [];
    return ask ? `Asks ${ask.kind === "question" ? "a question" : `for ${ask.permission}`}` : "Waits for an answer";
  }
  if (session.status === "failed") return sentence(session.error?.error ?? session.error?.code ?? "Failed");
  if (!active(session)) return "";
  if (told) return sentence(told);
  if (session.phase) return `${phase(session.phase)}${session.reason ? `: ${session.reason}` : ""}`;
  return session.current_tool ? `Runs ${session.current_tool}` : "The model is at work";
}
