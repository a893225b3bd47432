// Differences of files: made from two texts, or read from a unified diff, and shown unified or side by side.

import { h, visible } from "./dom.js";

/** Above this many lines on either side the two texts are shown one after the other. */
const MOST_LINES = 1500;
const CONTEXT = 3;

/** Lines `{kind: "same"|"removed"|"added"|"hunk", text, old, new}` that make `after` of `before`. */
export function compare(before, after) {
  const a = lines(before);
  const b = lines(after);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const middle = between(a.slice(start, a.length - end), b.slice(start, b.length - end));
  const all = [
    ...a.slice(0, start).map((text) => ({ kind: "same", text })), ...middle,
    ...a.slice(a.length - end).map((text) => ({ kind: "same", text })),
  ];
  return number(end === 0 && start === a.length && start === b.length ? [] : all);
}

function lines(text) {
  if (text === "") return [];
  return (text.endsWith("\n") ? text.slice(0, -1) : text).split("\n");
}

/** The longest common subsequence, by a table, which is quick for what people and models change at once. */
function between(a, b) {
  const removed = (text) => ({ kind: "removed", text });
  const added = (text) => ({ kind: "added", text });
  if (a.length * b.length > MOST_LINES * MOST_LINES / 4) return [...a.map(removed), ...b.map(added)];
  const width = b.length + 1;
  const table = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const found = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      found.push({ kind: "same", text: a[i] });
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && table[(i + 1) * width + j] >= table[i * width + j + 1])) {
      found.push(removed(a[i]));
      i += 1;
    } else {
      found.push(added(b[j]));
      j += 1;
    }
  }
  return found;
}

function number(all) {
  let before = 0;
  let after = 0;
  const numbered = all.map((line) => {
    const entry = { ...line };
    if (line.kind !== "added") entry.old = before += 1;
    if (line.kind !== "removed") entry.new = after += 1;
    return entry;
  });
  const near = new Uint8Array(numbered.length);
  numbered.forEach((line, index) => {
    if (line.kind !== "same") near.fill(1, Math.max(0, index - CONTEXT), index + CONTEXT + 1);
  });
  const shown = [];
  numbered.forEach((line, index) => {
    if (near[index]) shown.push(line);
    else if (shown.length > 0 && shown.at(-1).kind !== "hunk") shown.push({ kind: "hunk", text: "⋯" });
  });
  if (shown.at(-1)?.kind === "hunk") shown.pop();
  return shown;
}

/** The files of a unified diff: `{file, lines}`. */
export function parse(patch) {
  const files = [];
  let file = null;
  let before = 0;
  let after = 0;
  // What the hunk still has of either side, by its first line: a removed "-- x" looks like the name of a file.
  let left = [0, 0];
  for (const line of patch.split("\n")) {
    const inside = left[0] > 0 || left[1] > 0;
    const hunk = inside ? null : /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)$/.exec(line);
    const mark = inside ? null : /^(?:\+\+\+ (?:b\/)?|\*\*\* (?:Update|Add|Delete) File: )/.exec(line);
    const name = mark && line.slice(mark[0].length).trim();
    if (name) {
      if (!file || file.lines.length > 0) files.push(file = { file: name, lines: [] });
      else if (name !== "/dev/null") file.file = name;
    } else if (!inside && line.startsWith("--- ")) {
      files.push(file = { file: line.slice(4).replace(/^a\//, "").trim(), lines: [] });
    } else if (hunk) {
      [before, after] = [Number(hunk[1]) - 1, Number(hunk[3]) - 1];
      left = [Number(hunk[2] ?? 1), Number(hunk[4] ?? 1)];
      file ??= files[files.push({ file: "", lines: [] }) - 1];
      if (file.lines.length > 0 || before > 0) file.lines.push({ kind: "hunk", text: hunk[5].trim() || "⋯" });
    } else if (inside && !/^(?:[-+ \\]|$)/.test(line)) {
      left = [0, 0];
    } else if (file && (/^[-+ ]/.test(line) || (inside && line === ""))) {
      const kind = { "-": "removed", "+": "added" }[line[0]] ?? "same";
      const entry = { kind, text: line.slice(1) };
      if (kind !== "added") entry.old = before += 1;
      if (kind !== "removed") entry.new = after += 1;
      left = [left[0] - (kind !== "added"), left[1] - (kind !== "removed")];
      file.lines.push(entry);
    }
  }
  return files.filter((one) => one.lines.length > 0);
}

export function sums(all) {
  return { added: all.filter((line) => line.kind === "added").length, removed: all.filter((line) => line.kind === "removed").length };
}

/** The lines as a table. `split`: the old text on the left, the new one on the right. */
export function show(all, split = false) {
  const shown = all.slice(0, MOST_LINES);
  const rows = split ? pairs(shown).map(([left, right]) => both(left, right)) : shown.map(single);
  const more = all.length - shown.length;
  return h("div", { class: `diff${split ? " split" : ""}`, tabindex: "0", dir: "ltr" },
    h("table", {}, h("tbody", {}, rows)), more > 0 && h("p", { class: "muted" }, `${more} more lines`));
}

const SIGNS = { same: " ", removed: "−", added: "+", hunk: "" };

function single(line) {
  if (line.kind === "hunk") return h("tr", { class: "hunk" }, h("td", { colspan: 3 }, visible(line.text)));
  return h("tr", { class: line.kind }, h("td", { class: "no" }, line.old ?? ""), h("td", { class: "no" }, line.new ?? ""),
    h("td", { class: "line" }, h("span", { class: "sign" }, SIGNS[line.kind]), visible(line.text)));
}

function both(left, right) {
  if (left?.kind === "hunk") return h("tr", { class: "hunk" }, h("td", { colspan: 4 }, visible(left.text)));
  const half = (line, no) => [h("td", { class: "no" }, line?.[no] ?? ""),
    h("td", { class: `line ${line ? line.kind : "none"}` }, line ? [h("span", { class: "sign" }, SIGNS[line.kind]), visible(line.text)] : "")];
  return h("tr", {}, half(left, "old"), half(right, "new"));
}

function pairs(all) {
  const found = [];
  let removed = [];
  let added = [];
  const flush = () => {
    for (let index = 0; index < Math.max(removed.length, added.length); index += 1) found.push([removed[index], added[index]]);
    removed = [];
    added = [];
  };
  for (const line of all) {
    if (line.kind === "removed") removed.push(line);
    else if (line.kind === "added") added.push(line);
    else {
      flush();
      found.push([line, line]);
    }
  }
  flush();
  return found;
}

/** What a call of a tool changes: `{file, lines}`, empty if it changes no file. */
export function changes(tool, args) {
  if (!args || typeof args !== "object") return [];
  const file = String(args.filePath ?? args.file_path ?? args.path ?? "");
  if (tool === "edit") return [{ file, lines: compare(String(args.oldString ?? ""), String(args.newString ?? "")) }];
  if (tool === "write") return [{ file, lines: compare("", String(args.content ?? "")) }];
  if (tool === "apply_patch" || tool === "patch") return parse(String(args.patchText ?? args.patch ?? ""));
  return [];
}
