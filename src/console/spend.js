// What each call of a model cost. No event tells that; the conversation as the agent has it does, message by message.

import { at, call, has } from "./api.js";

/** While a turn runs it is asked for again after so long. */
const AGAIN_MS = 5000;
const PAGES = 10;
/** Subagents whose calls are looked up. */
const MOST_AGENTS = 8;

/** Gives the spans of model calls their `usage`, and calls `onfound` when there is something new. */
export function spend(id, onfound) {
  const done = new Set();
  let asking = false;
  let asked = 0;

  async function of(turn, spans, ended) {
    const calls = spans.filter((span) => span.kind === "model");
    if (asking || done.has(turn) || calls.length === 0 || !has("GET", "/sessions/{id}/messages") || Date.now() - asked < (ended ? 500 : AGAIN_MS)) return;
    asking = true;
    asked = Date.now();
    try {
      const agents = [...new Set(calls.map((span) => span.agent))].slice(0, MOST_AGENTS);
      for (const agent of agents) assign(calls.filter((span) => span.agent === agent), await answers(id, turn, agent, calls[0].from));
      if (ended) done.add(turn);
      onfound();
    } catch {
      // Bars without figures; the next drawing asks again.
      asked = Date.now() + AGAIN_MS;
    }
    asking = false;
  }
  return { of };
}

async function answers(id, turn, agent, since) {
  const found = [];
  let cursor = null;
  for (let page = 0; page < PAGES; page += 1) {
    const path = `${at`sessions/${id}/messages`}?limit=200${agent ? `&agent=${encodeURIComponent(agent)}` : ""}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
    const { messages, next_cursor: next } = await call("GET", path);
    found.push(...messages.filter((one) => one.role === "assistant" && one.usage && (one.turn === turn || (one.turn === null && Date.parse(one.created_at) >= since - 1000))));
    cursor = next;
    if (!cursor || Date.parse(messages.at(-1)?.created_at) < since - 1000) break;
  }
  return found;
}

/** Each message belongs to the call that began nearest to it. */
function assign(calls, messages) {
  const free = new Set(calls);
  for (const message of messages.reverse()) {
    const at = Date.parse(message.created_at);
    const nearest = [...free].sort((a, b) => Math.abs(a.from - at) - Math.abs(b.from - at))[0];
    if (!nearest) return;
    free.delete(nearest);
    nearest.usage = message.usage;
  }
}
