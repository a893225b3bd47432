// A useful part of Markdown, as elements. Links lead to http, https and mailto only; pictures are never loaded.
// What a model writes may be made to be slow: no expression here has two parts that can take the same character, but for a bounded one.

import { button, copy, h, visible } from "./dom.js";
import { highlight } from "./highlight.js";

/** How far a closing mark is looked for. Keeps a text of nothing but opening marks from taking long. */
const REACH = 2000;
const DEEPEST = 6;

/** The text as nodes. */
export function markdown(text) {
  const nodes = document.createDocumentFragment();
  nodes.append(...blocks(visible(text).split("\n"), 0));
  return nodes;
}

function blocks(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)/.exec(line);
    if (fence) {
      const end = closing(lines, at + 1, fence[1]);
      found.push(codeBlock(lines.slice(at + 1, end).join("\n"), fence[2]));
      at = end + 1;
      continue;
    }
    const heading = /^ {0,3}(#{1,6})\s/.exec(line);
    if (heading) {
      // The page has its own first and second headings.
      found.push(h(`h${Math.min(6, heading[1].length + 2)}`, { class: `md-h${heading[1].length}` }, inline(title(line.slice(heading[0].length)))));
      at += 1;
    } else if (/^\s*$/.test(line)) {
      at += 1;
    } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
      found.push(h("hr"));
      at += 1;
    } else if (/^ {0,3}>/.test(line) && depth < DEEPEST) {
      const end = until(lines, at, (one) => !/^ {0,3}>/.test(one));
      found.push(h("blockquote", {}, blocks(lines.slice(at, end).map((one) => one.replace(/^ {0,3}> ?/, "")), depth + 1)));
      at = end;
    } else if (item(line) && depth < DEEPEST) {
      const end = endOfList(lines, at);
      found.push(list(lines.slice(at, end), depth));
      at = end;
    } else if (isTable(lines, at)) {
      const end = until(lines, at + 2, (one) => !one.includes("|"));
      found.push(table(lines.slice(at, end)));
      at = end;
    } else {
      const end = until(lines, at + 1, (one) => /^\s*$|^ {0,3}(`{3,}|~{3,}|#{1,6}\s|>)/.test(one) || item(one) !== null);
      found.push(h("p", { dir: "auto" }, paragraph(lines.slice(at, end))));
      at = end;
    }
  }
  return found;
}

/** A heading may have its marks at the end too. */
function title(text) {
  const words = text.trim();
  let end = words.length;
  while (words[end - 1] === "#") end -= 1;
  return words.slice(0, end).trimEnd();
}

function until(lines, from, ends) {
  let at = from;
  while (at < lines.length && !ends(lines[at])) at += 1;
  return Math.max(at, from);
}

function closing(lines, from, mark) {
  return until(lines, from, (line) => line.trim().startsWith(mark) && line.trim().replaceAll(mark[0], "") === "");
}

function paragraph(lines) {
  return lines.flatMap((line, index) => {
    const last = index === lines.length - 1;
    const hard = line.endsWith("  ") || line.endsWith("\\");
    return [...inline((line.endsWith("\\") ? line.slice(0, -1) : line).trim()), last ? null : hard ? h("br") : "\n"];
  });
}

function codeBlock(text, language) {
  const code = h("code", {}, highlight(text, language));
  const head = h("div", { class: "code-head" }, h("span", {}, language || "text"),
    button("copy", "Copy the code", () => copy(text, "the code"), { words: false, class: "quiet" }));
  return h("div", { class: "code" }, head, h("pre", { tabindex: "0", dir: "ltr" }, code));
}

function item(line) {
  const found = /^( {0,12})([-*+]|\d{1,9}[.)])(?= |$)/.exec(line);
  return found && { indent: found[1].length, mark: found[2], rest: line.slice(found[0].length).trimStart() };
}

function endOfList(lines, from) {
  return until(lines, from + 1, (line) => {
    if (/^\s/.test(line) || line === "") return false;
    return item(line) === null;
  });
}

function list(lines, depth) {
  const first = item(lines[0]);
  const { indent } = first;
  const ordered = /\d/.test(first.mark);
  const items = [];
  for (const line of lines) {
    const begins = item(line);
    if (begins && begins.indent <= indent + 1) items.push([begins.rest]);
    else items.at(-1).push(line.replace(new RegExp(`^ {0,${indent + (ordered ? 3 : 2)}}`), ""));
  }
  const rows = items.map((own) => {
    const [, box, rest] = /^\[([ xX])\] (.*)$/.exec(own[0]) ?? [null, null, null];
    if (box !== null) own[0] = rest;
    const content = own.length === 1 ? inline(own[0]) : blocks(own, depth + 1);
    return h("li", { dir: "auto" }, box && h("span", { class: "box" }, box === " " ? "☐ " : "☑ "), content);
  });
  return h(ordered ? "ol" : "ul", { start: ordered ? parseInt(first.mark, 10) : null }, rows);
}

function isTable(lines, at) {
  return lines[at].includes("|") && /^ *\|?( *:?-+:? *\|)+( *:?-+:? *)?$/.test((lines[at + 1] ?? "").slice(0, REACH));
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
}

function table([head, , ...rows]) {
  const row = (line, kind) => h("tr", {}, cells(line).slice(0, 50).map((cell) => h(kind, { dir: "auto" }, inline(cell))));
  return h("div", { class: "table", tabindex: "0" },
    h("table", {}, h("thead", {}, row(head, "th")), h("tbody", {}, rows.map((line) => row(line, "td")))));
}

const MARKS = /[`*_~[!<\\]|https?:\/\//;

/** Text between marks. One pass: what opens nothing is text. */
function inline(text, depth = 0) {
  const found = [];
  let begin = 0;
  const marks = new RegExp(MARKS, "g");
  for (let match = marks.exec(text); match; match = marks.exec(text)) {
    const taken = depth < DEEPEST ? mark(text, match.index, depth) : null;
    if (!taken) continue;
    if (match.index > begin) found.push(text.slice(begin, match.index));
    found.push(taken.node);
    begin = taken.end;
    marks.lastIndex = begin;
  }
  if (begin < text.length) found.push(text.slice(begin));
  return found;
}

function find(text, what, from) {
  const at = text.slice(from, from + REACH).indexOf(what);
  return at < 0 ? -1 : from + at;
}

function mark(text, at, depth) {
  const rest = text.slice(at, at + REACH);
  const one = text[at];
  if (one === "\\") return /^\\[!-/:-@[-`{-~]/.test(rest) ? { node: text[at + 1], end: at + 2 } : null;
  if (one === "`") {
    const ticks = /^`+/.exec(rest)[0];
    const end = find(text, ticks, at + ticks.length);
    if (end < 0) return null;
    return { node: h("code", {}, text.slice(at + ticks.length, end).trim()), end: end + ticks.length };
  }
  if (one === "h") {
    const found = /^https?:\/\/[^\s<>"'`|\\]+[^\s<>"'`|\\.,;:!?)\]*_]/.exec(rest);
    return found && { node: link(found[0], [found[0]]), end: at + found[0].length };
  }
  if (one === "<") {
    const found = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/.exec(rest);
    return found && { node: link(found[1], [found[1]]), end: at + found[0].length };
  }
  if (one === "[" || one === "!") {
    const found = /^!?\[([^\][]*)\]\(\s*<?([^\s<>()]*(?:\([^\s<>()]*\)[^\s<>()]*)*)>?(?:\s+"[^"]*")?\s*\)/.exec(rest);
    if (!found) return null;
    const words = found[1] === "" ? [found[2]] : inline(found[1], depth + 1);
    return { node: link(found[2], words), end: at + found[0].length };
  }
  const [tag, sign] = rest.startsWith("**") || rest.startsWith("__") ? ["strong", rest.slice(0, 2)]
    : rest.startsWith("~~") ? ["del", "~~"] : ["em", one];
  if (sign === "~") return null;
  const inside = at + sign.length;
  // An underscore inside a word is part of a name.
  if (/\s/.test(text[inside] ?? " ") || (sign[0] === "_" && /\w/.test(text[at - 1] ?? " "))) return null;
  let end = find(text, sign, inside + 1);
  if (sign.length === 1) while (end > 0 && text[end + 1] === sign) end = end - inside > REACH ? -1 : find(text, sign, end + 2);
  if (end < 0 || /\s/.test(text[end - 1]) || (sign[0] === "_" && /\w/.test(text[end + sign.length] ?? " "))) return null;
  return { node: h(tag, {}, inline(text.slice(inside, end), depth + 1)), end: end + sign.length };
}

/** A link to where a person may be sent; what leads elsewhere is shown as it was written. */
function link(target, words) {
  let parsed = null;
  try {
    parsed = new URL(target);
  } catch {
    // Relative addresses would lead into this console.
  }
  if (!parsed || !["http:", "https:", "mailto:"].includes(parsed.protocol)) {
    return h("span", { class: "no-link", title: target.slice(0, 200) }, words);
  }
  return h("a", { href: parsed.href, target: "_blank", rel: "noopener noreferrer nofollow", title: parsed.href.slice(0, 300) }, words);
}
