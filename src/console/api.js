// Calls of the sidecar. Addresses are relative to where this file came from, so the console works below any path.

import { h, replace } from "./dom.js";

const BASE = new URL("../", import.meta.url);
/** The token lives in this tab only, and is sent as a header only. */
const TOKEN = `opencode-sidecar token of ${BASE.pathname}`;

/** What this sidecar says of itself: version, routes, whether the demo model is on. */
let map = { routes: [] };

/** An answer that is no success. */
export class Refused extends Error {
  constructor(status, body, retryAfter) {
    super(body?.error ?? `the sidecar answered ${status}`);
    this.status = status;
    this.code = body?.code;
    this.field = body?.details?.field;
    this.retryAfter = retryAfter;
  }
}

export const address = (path) => new URL(path, BASE);

/** `path` with its parts made safe: at`sessions/${id}/stop`. */
export function at(strings, ...values) {
  return strings.reduce((path, text, index) => path + encodeURIComponent(values[index - 1]) + text);
}

/** Not `Authorization`: a proxy in front may take that for itself, and the browser fills it in for such a proxy. */
function headers(more) {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { "x-sidecar-token": token, ...more } : { ...more };
}

/** A request with the token; asks for it where one is needed, and then tries again. */
export async function request(path, { method = "GET", accept = "application/json", more = {}, body, signal } = {}) {
  for (;;) {
    const used = sessionStorage.getItem(TOKEN);
    const response = await fetch(address(path), {
      method, body, signal, headers: headers({ accept, ...more }), cache: "no-store", redirect: "error",
    });
    if (response.status !== 401) return response;
    const refusal = await response.json().catch(() => null);
    // A proxy that wants something else of the person has words of its own.
    if (refusal?.code !== "unauthorized") throw new Refused(401, refusal, null);
    // Another call may have asked for the token meanwhile.
    if (sessionStorage.getItem(TOKEN) === used) await askForToken(used !== null);
  }
}

/** The answer's JSON; an error is thrown as `Refused`. */
export async function call(method, path, body, more) {
  const response = await request(path, { method, more, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await response.text();
  let parsed = null;
  try {
    parsed = JSON.parse(text);
  } catch {
    // A proxy in between answers in its own words, or an answer has no body.
  }
  if (!response.ok) throw new Refused(response.status, parsed, Number(response.headers.get("retry-after")) || null);
  return parsed;
}

/** Reads the map of the API once; `has` is answered from it. */
export async function greet() {
  map = await call("GET", "");
  return map;
}

/** Whether this sidecar has a route, as in `has("POST", "/sessions/{id}/prompt")`. */
export function has(method, path) {
  return map.routes.some((route) => route.method === method && route.path === path);
}

export const about = () => map;

let asking = null;

/** One dialog, however many calls wait for it. */
function askForToken(refused) {
  asking ??= new Promise((resolve) => {
    const field = h("input", { type: "password", id: "token", name: "token", autocomplete: "off", required: true, spellcheck: "false" });
    const dialog = document.getElementById("token-dialog");
    const done = (event) => {
      event.preventDefault();
      if (!field.value.trim()) return;
      sessionStorage.setItem(TOKEN, field.value.trim());
      dialog.close();
      asking = null;
      resolve();
    };
    replace(dialog, h("form", { onsubmit: done },
      h("h2", { id: "token-title" }, "This sidecar asks for its secret"),
      refused && h("p", { class: "bad", role: "alert" }, "The token sent is not accepted."),
      h("p", { class: "muted" }, "It is kept in this tab until you close it, and is sent as a header with each call."),
      h("label", { for: "token" }, "OPENCODE_SHARED_SECRET"), field,
      h("div", { class: "actions" }, h("button", { class: "primary", type: "submit" }, "Continue"))));
    dialog.oncancel = (event) => event.preventDefault();
    if (!dialog.open) dialog.showModal();
    field.focus();
  });
  return asking;
}

/** The command that asks for the same in a terminal. The secret is not in it. */
export function curl(path, options = "") {
  const secret = sessionStorage.getItem(TOKEN) ? ` -H "X-Sidecar-Token: $OPENCODE_SHARED_SECRET"` : "";
  return `curl -s${options}${secret} '${address(path).href.replaceAll("'", "%27")}'`;
}
