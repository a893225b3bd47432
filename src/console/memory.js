// What this tab remembers: prompts, and how the last session was set up. Never a key.

const PROMPTS = "opencode-sidecar prompts";
const SETUP = "opencode-sidecar setup";
const HIDDEN = "opencode-sidecar hidden";
const MOST_SESSIONS = 40;
const MOST_HIDDEN = 500;
const LONGEST = 20_000;

/** Keys of providers, by session, in this page's memory alone: a reload forgets them. */
const models = new Map();

function read(storage, key) {
  try {
    return JSON.parse(storage.getItem(key)) ?? {};
  } catch {
    return {};
  }
}

function write(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // A full or forbidden storage costs comfort only.
  }
}

/** Remembers what a person asked for, until the tab is closed. */
export function rememberPrompt(session, turn, text) {
  const all = read(sessionStorage, PROMPTS);
  all[session] = { ...all[session], [turn]: text.slice(0, LONGEST) };
  write(sessionStorage, PROMPTS, Object.fromEntries(Object.entries(all).slice(-MOST_SESSIONS)));
}

export function prompts(session) {
  return new Map(Object.entries(read(sessionStorage, PROMPTS)[session] ?? {}).map(([turn, text]) => [Number(turn), text]));
}

export function rememberModel(session, config) {
  models.set(session, config);
}

/** The model that a session was begun with here, with its key; null after a reload. */
export const model = (session) => models.get(session) ?? null;

/** Sessions that a person took off the list of this browser. */
export const hidden = () => (away ??= new Set(read(localStorage, HIDDEN).ids));

let away = null;

export function hide(id) {
  away = new Set([...hidden(), id].slice(-MOST_HIDDEN));
  write(localStorage, HIDDEN, { ids: [...away] });
}

export function showAgain() {
  away = new Set();
  write(localStorage, HIDDEN, { ids: [] });
}

/** How the last session was set up, without its key. */
export const setup = () => read(localStorage, SETUP);

export function rememberSetup({ api_key: _, ...rest }) {
  write(localStorage, SETUP, rest);
}
