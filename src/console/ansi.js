// Text of terminals: colours become spans, every other escape sequence is dropped.

import { h, visible } from "./dom.js";

/** More changes of colour than this in one text are not shown: that is no output, it is an attack on the page. */
const MOST_SPANS = 4000;
// CSI, then OSC and the other strings, then two-character sequences. Each is bounded, so that no text is searched twice.
const SEQUENCE = /\x1b(?:\[([0-9;:?<=>!]{0,64})[ -/]{0,4}([@-~])|[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?|[@-Z\\-_a-z=>78]|[()*+][0-9A-Za-z])/g;

/** The text as nodes. */
export function ansi(text) {
  const nodes = document.createDocumentFragment();
  const shown = overwritten(text);
  const style = fresh();
  let begin = 0;
  let spans = 0;
  for (const match of shown.matchAll(SEQUENCE)) {
    spans += append(nodes, shown.slice(begin, match.index), style);
    begin = match.index + match[0].length;
    if (spans >= MOST_SPANS) break;
    if (match[2] === "m") apply(style, match[1]);
  }
  append(nodes, shown.slice(begin).replace(SEQUENCE, ""), spans >= MOST_SPANS ? fresh() : style);
  return nodes;
}

/** A carriage return writes over its line, as progress bars do; the last state is what counts. */
function overwritten(text) {
  if (!text.includes("\r")) return text;
  return text.split("\n").map((line) => {
    let end = line.length;
    while (line[end - 1] === "\r") end -= 1;
    return line.slice(end === 0 ? 0 : line.lastIndexOf("\r", end - 1) + 1, end);
  }).join("\n");
}

function fresh() {
  return { fg: null, bg: null, bold: false, dim: false, italic: false, underline: false, inverse: false };
}

function append(nodes, text, style) {
  if (text === "") return 0;
  const shown = visible(text);
  const classes = ["bold", "dim", "italic", "underline", "inverse"].filter((name) => style[name]).map((name) => `t-${name}`);
  if (Number.isInteger(style.fg)) classes.push(`fg-${style.fg}`);
  if (Number.isInteger(style.bg)) classes.push(`bg-${style.bg}`);
  if (classes.length === 0 && style.fg === null && style.bg === null) {
    nodes.append(shown);
    return 0;
  }
  const span = h("span", { class: classes.join(" ") }, shown);
  if (typeof style.fg === "string") span.style.color = style.fg;
  if (typeof style.bg === "string") span.style.backgroundColor = style.bg;
  nodes.append(span);
  return 1;
}

function apply(style, parameters) {
  const codes = parameters.split(/[;:]/).map(Number);
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 0) Object.assign(style, fresh());
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 3) style.italic = true;
    else if (code === 4) style.underline = true;
    else if (code === 7) style.inverse = true;
    else if (code === 22) style.bold = style.dim = false;
    else if (code === 23) style.italic = false;
    else if (code === 24) style.underline = false;
    else if (code === 27) style.inverse = false;
    else if (code >= 30 && code <= 37) style.fg = code - 30;
    else if (code >= 90 && code <= 97) style.fg = code - 82;
    else if (code === 39) style.fg = null;
    else if (code >= 40 && code <= 47) style.bg = code - 40;
    else if (code >= 100 && code <= 107) style.bg = code - 92;
    else if (code === 49) style.bg = null;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes.slice(at + 1));
      if (code === 38) style.fg = colour;
      else style.bg = colour;
      at += used;
    }
  }
}

/** `5;n` or `2;r;g;b`. The first sixteen colours are those of the page, the others are fixed. */
function extended([kind, ...rest]) {
  const byte = (value) => Math.min(255, Math.max(0, Math.trunc(value) || 0));
  if (kind === 2) return [`rgb(${byte(rest[0])} ${byte(rest[1])} ${byte(rest[2])})`, 4];
  if (kind !== 5) return [null, 0];
  const index = byte(rest[0]);
  if (index < 16) return [index, 2];
  if (index > 231) {
    const grey = 8 + (index - 232) * 10;
    return [`rgb(${grey} ${grey} ${grey})`, 2];
  }
  const level = (value) => (value === 0 ? 0 : 55 + value * 40);
  const cube = index - 16;
  return [`rgb(${level(Math.floor(cube / 36))} ${level(Math.floor(cube / 6) % 6)} ${level(cube % 6)})`, 2];
}
