// One session's events over fetch, because EventSource can send no header. Comes back by itself, with its cursor.

import { Refused, request } from "./api.js";
import { SseParser } from "./sse.js";

/** A stream that says nothing for so long is dead: the server sends a heartbeat after 15 s of silence. */
const SILENCE_MS = 40_000;
const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 8_000;

/** A page that nobody has looked at for so long lets go of its connections: a browser has six for all its tabs. */
const UNSEEN_MS = 20_000;

/**
 * Follows `path` until `signal` is aborted or the session is gone, from `cursor` on. While nobody looks it rests.
 * `onEvents` gets the events of one piece of the answer; `onState` gets "live", "waiting", "resting" or "over", and why.
 */
export async function follow(path, { onEvents, onState, signal, cursor = null }) {
  let failures = 0;
  while (!signal.aborted) {
    try {
      const read = (event) => {
        if (event.id !== null) cursor = event.id;
      };
      const live = () => {
        failures = 0;
        onState("live");
      };
      await once(path, { cursor, signal, onEvents, read, live });
      // A clean end: a proxy that cuts answers, or a sidecar that leaves.
      failures = Math.max(failures, 1);
      onState("waiting", "the stream ended");
    } catch (error) {
      if (signal.aborted) return;
      if (document.hidden) {
        onState("resting");
        await seen(signal);
        continue;
      }
      if (error instanceof Refused && [403, 404, 410, 421].includes(error.status)) {
        onState("over", error.message);
        return;
      }
      failures += 1;
      onState("waiting", error instanceof Refused ? error.message : "the sidecar does not answer");
      if (error.retryAfter) await pause(error.retryAfter * 1000, signal);
    }
    await pause(Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - 1)) * (0.75 + Math.random() / 2), signal);
  }
}

async function once(path, { cursor, signal, onEvents, read, live }) {
  const attempt = new AbortController();
  const end = () => attempt.abort();
  signal.addEventListener("abort", end);
  let watchdog = setTimeout(end, SILENCE_MS);
  let unseen = null;
  const look = () => {
    clearTimeout(unseen);
    if (document.hidden) unseen = setTimeout(end, UNSEEN_MS);
  };
  document.addEventListener("visibilitychange", look);
  look();
  try {
    const more = cursor === null ? {} : { "last-event-id": cursor };
    const response = await request(path, { accept: "text/event-stream", more, signal: attempt.signal });
    if (response.status === 204) {
      live();
      return;
    }
    if (!response.ok) {
      const body = await response.json().catch(() => null);
      throw new Refused(response.status, body, Number(response.headers.get("retry-after")) || null);
    }
    live();
    const parser = new SseParser();
    parser.lastId = cursor;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      clearTimeout(watchdog);
      if (done) return;
      watchdog = setTimeout(end, SILENCE_MS);
      const events = parser.push(value);
      // Before the events are shown: what was read is not asked for again, whatever showing it does.
      read({ id: parser.lastId });
      const shown = events.filter((event) => event.type !== "heartbeat");
      if (shown.length > 0) onEvents(shown);
    }
  } finally {
    clearTimeout(watchdog);
    clearTimeout(unseen);
    document.removeEventListener("visibilitychange", look);
    signal.removeEventListener("abort", end);
  }
}

/** Until somebody looks at the page. */
function seen(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look, { once: true });
    look();
  });
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const end = () => {
      clearTimeout(timer);
      resolve();
    };
    signal.addEventListener("abort", end, { once: true });
    // A page that is looked at again, or a network that is back, does not wait.
    window.addEventListener("online", end, { once: true });
  });
}
