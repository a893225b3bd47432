// All sessions as they are now: read once, and then kept fresh by the stream of all events.

import { at, call, has } from "./api.js";
import { END, ends } from "./conversation.js";
import { hidden } from "./memory.js";
import { active } from "./status.js";
import { follow } from "./stream.js";

const PAGE = 100;
/** What a session's line is made of; the texts of models and tools are not among it. */
const TYPES = "status,tool_call,tool_result,complete,error,permission,question,prompt";
/** How often one session is asked for anew, however much happens in it. */
const CALM_MS = 1500;
const SENTENCES_MS = 3000;
/** While the stream cannot be had, and while nobody looks. */
const SLOW_MS = 5000;
const UNSEEN_MS = 30_000;

/** The newest sessions. Hears of changes by itself, and tells of them with "change". */
export class Sessions extends EventTarget {
  list = [];
  more = null;
  reached = true;
  /** Whether changes come by themselves. */
  live = false;
  /** What running sessions do, in a sentence: id -> text. */
  sentences = new Map();
  #pages = 1;
  #slow = null;
  #asked = new Map();
  #talk = null;
  #reading = null;

  start() {
    document.addEventListener("visibilitychange", () => this.refresh());
    this.refresh();
    this.#listen();
  }

  get(id) {
    return this.list.find((session) => session.session_id === id);
  }

  showMore() {
    this.#pages += 1;
    return this.refresh();
  }

  /** Reads all of it anew. Calls that come meanwhile share the answer of one more reading. */
  async refresh() {
    if (this.#reading) {
      this.#reading.again = true;
      return;
    }
    const reading = { again: false };
    this.#reading = reading;
    try {
      const found = [];
      let cursor = null;
      for (let page = 0; page < this.#pages; page += 1) {
        const answer = await call("GET", `sessions?limit=${PAGE}${cursor ? `&cursor=${cursor}` : ""}`);
        found.push(...answer.sessions);
        cursor = answer.next_cursor;
        if (!cursor) break;
      }
      this.list = found;
      this.more = cursor;
      this.reached = true;
    } catch {
      this.reached = false;
    }
    this.#reading = null;
    this.#changed();
    clearTimeout(this.#slow);
    if (reading.again) this.refresh();
    else if (document.hidden || !this.live) this.#slow = setTimeout(() => this.refresh(), document.hidden ? UNSEEN_MS : SLOW_MS);
  }

  #listen() {
    if (!has("GET", "/events")) return;
    follow(`events?types=${TYPES}`, {
      cursor: "latest", signal: new AbortController().signal,
      onState: (state) => {
        const live = state === "live";
        // What happened before the stream was there is read once.
        if (live !== this.live) {
          this.live = live;
          this.refresh();
        }
      },
      onEvents: (events) => {
        for (const { type, raw } of events) this.#heard(type, raw);
      },
    });
  }

  #heard(type, raw) {
    if (type === "gap") {
      this.refresh();
      return;
    }
    const data = JSON.parse(raw);
    const known = this.get(data.session_id);
    if (!known) {
      this.refresh();
      return;
    }
    // Seen at once; the whole of it is asked for a moment later.
    if (ends(type, data)) Object.assign(known, { status: END[type], current_tool: null, phase: null, reason: null, error: type === "error" ? data : null });
    else if (type === "status") Object.assign(known, { status: data.status, progress: data.progress, current_tool: data.current_tool ?? null, phase: data.phase ?? null, reason: data.reason ?? null });
    else if (type === "permission" || type === "question") known.status = data.state === "asked" ? "waiting_input" : known.status;
    else if (type === "tool_call") known.current_tool = data.tool;
    this.#changed();
    this.ask(data.session_id);
  }

  /** Reads one session anew, soon. */
  ask(id) {
    if (this.#asked.has(id)) return;
    this.#asked.set(id, setTimeout(async () => {
      // What happens while the answer is under way is asked for again.
      this.#asked.delete(id);
      try {
        const status = await call("GET", at`sessions/${id}/status`);
        const index = this.list.findIndex((session) => session.session_id === id);
        if (index >= 0) this.list[index] = status;
        this.#changed();
      } catch {
        // The next event asks again; whether the sidecar answers at all is seen elsewhere.
      }
    }, CALM_MS));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
    if (this.#talk === null && this.list.some(active)) this.#speak();
  }

  /** What the running sessions do, for as long as some run and somebody looks: one call for all of them. */
  async #speak() {
    if (!has("GET", "/debug/state")) return;
    this.#talk = 0;
    while (!document.hidden && this.list.some(active)) {
      try {
        const { turns } = await call("GET", "debug/state");
        this.sentences = new Map(turns.map(({ session_id: id, sentence }) => [id, sentence]));
      } catch {
        this.sentences.clear();
      }
      this.dispatchEvent(new Event("change"));
      await new Promise((resolve) => setTimeout(resolve, SENTENCES_MS));
    }
    this.sentences.clear();
    this.#talk = null;
  }

  /** Those that a person has not taken off the list. */
  shown() {
    const gone = hidden();
    return this.list.filter((session) => !gone.has(session.session_id));
  }
}
