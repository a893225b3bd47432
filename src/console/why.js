// What a session does right now or why it does nothing, as the sidecar says it, and what happens next by itself.

import { at, call, has } from "./api.js";
import { h, setText } from "./dom.js";
import { duration } from "./format.js";
import { sentence as readable } from "./status.js";

const EVERY_MS = 2000;
/** Causes that a person should look at. */
const TROUBLE = new Set(["provider_retry", "engine_restarting", "child_wedged", "feed_silent", "journal_degraded", "memory_pressure"]);

/** The line at the top of a session. `words()` says what to show while the sidecar has not told. */
export function whyLine(id, words) {
  let found = null;
  let running = false;
  let timer = null;
  let closed = false;
  const sentence = h("span", { class: "sentence", dir: "auto" });
  const next = h("span", { class: "next muted" });
  const also = h("span", { class: "also" });
  const element = h("p", { class: "why", role: "status" }, sentence, also, next);

  async function look() {
    clearTimeout(timer);
    if (closed || !running || !has("GET", "/sessions/{id}/diagnosis")) return;
    if (!document.hidden) found = await call("GET", at`sessions/${id}/diagnosis`).catch(() => null);
    if (!closed && running) timer = setTimeout(look, EVERY_MS);
  }

  return {
    element,
    /** What the sidecar said last, null while no turn runs. */
    get found() { return running ? found : null; },
    draw(now) {
      if (now !== running) {
        running = now;
        found = null;
        look();
      }
      const told = running && found?.cause !== "ended" ? found : null;
      element.classList.toggle("warn", TROUBLE.has(told?.cause));
      setText(sentence, readable(told?.sentence ?? words(), 400));
      setText(also, told ? told.also.map((one) => readable(one.sentence, 200)).join(" ") : "");
      // The end of the turn may itself be what comes next.
      const what = told?.next && told.next.at !== told.turn_ends_at && `${readable(told.next.what, 120)} in ${until(told.next.at)}`;
      setText(next, told ? [what, told.turn_ends_at && `${until(told.turn_ends_at)} left for this turn`].filter(Boolean).join(" · ") : "");
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

const until = (at) => duration(Math.max(0, Date.parse(at) - Date.now())).replace(/\.\d s/, " s").replace(/^\d+ ms$/, "0 s");
