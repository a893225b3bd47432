// Elements are made here, from names, attributes and texts. Nothing is ever parsed as HTML: what a model wrote stays text.

const SVG = "http://www.w3.org/2000/svg";

// Control characters, and marks that turn the direction of text around: they can make a command look like another one.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** The text with every hidden character written as its code. */
export function visible(text) {
  return text.replace(HIDDEN, (one) => {
    if (one === "\r") return "";
    return `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

/** Like `visible`, and on one line of at most `most` characters. */
export function oneLine(text, most = 200) {
  const cut = text.length > most ? `${text.slice(0, most)}…` : text;
  return visible(cut.replace(/\s+/g, " ").trim());
}

/** An HTML element. `on…` attributes are listeners, `true` is an attribute without value, `false` and null are none. */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** Puts the children in place of those there were. */
export function replace(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** Sets the text only if it is another one, so that a selection in it survives. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const PATHS = {
  add: "M8 3v10M3 8h10",
  agent: "M8 2v2M4 5h8v7H4zM6.3 8v1M9.7 8v1M2 8v2M14 8v2",
  back: "M10 3 5 8l5 5",
  check: "m3 8.5 3.2 3L13 4.5",
  compress: "M4 2v4h8V2M4 14v-4h8v4M2 8h12",
  clock: "M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11M8 5v3.2l2 1.3",
  copy: "M6 6h7v7H6zM3 10V3h7",
  cross: "m4 4 8 8M12 4l-8 8",
  down: "M8 3v10M4 9l4 4 4-4",
  edit: "m3 13 .6-2.8L10.8 3 13 5.2 5.8 12.4z",
  file: "M4 2h5l3 3v9H4zM9 2v3h3",
  fork: "M4 3v3a2 2 0 0 0 2 2h4a2 2 0 0 0 2-2V3M8 8v5",
  help: "M6 6a2 2 0 1 1 2.6 1.9c-.5.2-.6.5-.6 1.1M8 11.6v.4",
  list: "M6 4h7M6 8h7M6 12h7M3 4h.1M3 8h.1M3 12h.1",
  more: "M3.500 8h.1M8 8h.1M12.500 8h.1",
  play: "M5 3.5v9l7-4.5z",
  redo: "M12 3v4H8M12 7a5 5 0 1 0 1 4",
  search: "M7 3a4 4 0 1 1 0 8 4 4 0 0 1 0-8M10 10l3.5 3.5",
  send: "M8 13V3M4 7l4-4 4 4",
  stop: "M4.5 4.5h7v7h-7z",
  terminal: "m3 5 3 3-3 3M8 11.5h5",
  theme: "M8 3a5 5 0 1 0 0 10zM8 3a5 5 0 0 1 0 10",
  tool: "M10 3a3 3 0 0 0-2.8 4L3 11.2 4.8 13 9 8.8A3 3 0 0 0 12.9 5L11 6.5 9.5 5z",
  trash: "M3 4.500h10M6.5 4V3h3v1M4.5 5l.5 8h6l.5-8",
  turn: "m6 4 4 4-4 4",
  undo: "M4 3v4h4M4 7a5 5 0 1 1-1 4",
  warning: "M8 3 2.5 13h11zM8 7v2.800M8 11.300v.2",
  web: "M8 2.500a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11M2.5 8h11M8 2.500c-4 4-4 7 0 11 4-4 4-7 0-11",
};

/** What is pressed stays where it is until it is let go, or a click would end on something else; but not longer than this. */
const LONGEST_PRESS_MS = 1000;

/** Tells whether a pointer is down in `element`; `released` is called when it is not any more. */
export function pressing(element, released) {
  let timer = null;
  const end = () => {
    clearTimeout(timer);
    timer = null;
    released();
  };
  element.addEventListener("pointerdown", () => {
    clearTimeout(timer);
    timer = setTimeout(end, LONGEST_PRESS_MS);
    const over = new AbortController();
    // The click comes after its `pointerup`, in the same task.
    for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, () => { over.abort(); if (timer !== null) setTimeout(end); }, { signal: over.signal });
  });
  return () => timer !== null;
}

/** Puts `next` in the place of `element`; the control that had the focus has it again. */
export function swap(element, next) {
  const controls = (of) => [...of.querySelectorAll("a, button, input, select, textarea, [tabindex]")];
  const focused = controls(element).indexOf(document.activeElement);
  element.replaceWith(next);
  if (focused >= 0) controls(next)[focused]?.focus({ preventScroll: true });
}

/** A drawing that says nothing that the words beside it do not say. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
}

/** A button with a drawing; without words it has a label for who cannot see it. */
export function button(name, label, onclick, { words = true, ...attributes } = {}) {
  const shown = { type: "button", onclick, ...attributes };
  if (!words) Object.assign(shown, { "aria-label": label, title: label });
  return h("button", shown, name && icon(name), words && h("span", {}, label));
}

/** Says something to a screen reader, and shows it for a moment. */
export function announce(text, kind = "info") {
  const toast = h("p", { class: `toast ${kind}` }, visible(text));
  const place = document.getElementById("toasts");
  place.append(toast);
  while (place.children.length > 3) place.firstChild.remove();
  setTimeout(() => toast.remove(), kind === "error" ? 8000 : 3500);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    announce(`Copied ${what}`);
  } catch {
    announce(`The browser does not let this page copy ${what}`, "error");
  }
}
