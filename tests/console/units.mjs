// The parts of the console that need no browser.
import assert from "node:assert/strict";
import { ansi } from "../../src/console/ansi.js";
import { Conversation } from "../../src/console/conversation.js";
import { compare, parse } from "../../src/console/diff.js";
import { oneLine, visible } from "../../src/console/dom.js";
import { highlight } from "../../src/console/highlight.js";
import { markdown } from "../../src/console/markdown.js";
import { SseParser } from "../../src/console/sse.js";

const STREAM = ": ok\nretry: 1500\n\nevent: status\nid: a-1\ndata: {\"x\":1}\n\nid: a-4\n\nevent: heartbeat\ndata: {}\n\nevent: output\r\nid: a-5\r\ndata: one\r\ndata: two\r\n\r\n";

export function a_stream_is_the_same_however_it_is_cut() {
  const whole = new SseParser().push(STREAM);
  assert.deepEqual(whole, [{ id: "a-1", type: "status", raw: "{\"x\":1}" }, { id: "a-4", type: "heartbeat", raw: "{}" }, { id: "a-5", type: "output", raw: "one\ntwo" }]);
  for (let size = 1; size < 30; size += 1) {
    const parser = new SseParser();
    const events = [];
    for (let at = 0; at < STREAM.length; at += size) events.push(...parser.push(STREAM.slice(at, at + size)));
    assert.deepEqual(events, whole, `pieces of ${size}`);
    assert.equal(parser.retry, 1500);
    assert.equal(parser.lastId, "a-5");
  }
}

/** An event whose end has not come yet is asked for again: the cursor stays before it. */
export function the_cursor_moves_with_whole_events_only() {
  for (let at = 0; at <= STREAM.length; at += 1) {
    const parser = new SseParser();
    parser.lastId = "a-0";
    const events = parser.push(STREAM.slice(0, at));
    const blocks = STREAM.slice(0, at).replaceAll("\r", "").split("\n\n").slice(0, -1).flatMap((block) => /^id: (.*)$/m.exec(block)?.[1] ?? []);
    assert.equal(parser.lastId, blocks.at(-1) ?? "a-0", `cut at ${at}`);
    assert.ok(events.every(({ id }) => id !== "a-5") || parser.lastId === "a-5");
  }
}

export function a_line_of_a_megabyte_in_many_pieces_takes_no_time() {
  const parser = new SseParser();
  const begun = performance.now();
  parser.push("data: ");
  for (let at = 0; at < 16_000; at += 1) parser.push("x".repeat(64));
  const [event] = parser.push("\n\n");
  assert.equal(event.raw.length, 16_000 * 64);
  assert.ok(performance.now() - begun < 5000);
}

const event = (type, data, seconds = 0) => ({ id: null, type, data: { timestamp: new Date(1.8e12 + seconds * 1000).toISOString(), ...data } });

function told(...events) {
  const conversation = new Conversation(new Map([[1, "Do it"]]));
  for (const one of events) conversation.add(one);
  return conversation;
}

export function texts_tools_and_the_end_of_a_turn_become_items() {
  const { items, files, running, spans } = told(
    event("status", { status: "running" }), event("output", { source: "assistant", text: "I " }, 1), event("output", { source: "assistant", text: "look" }, 2),
    event("tool_call", { tool: "bash", call_id: "c", args: { command: "ls" } }, 3), event("output", { source: "tool", call_id: "c", text: "a\n" }, 4),
    event("tool_result", { tool: "bash", call_id: "c", result: { exit_code: 0 }, is_error: false, duration_ms: 2000 }, 5),
    event("output", { source: "assistant", text: "Done" }, 6), event("complete", { files_modified: ["/w/a"], usage: {}, duration_ms: 7000 }, 7));
  assert.deepEqual(items.map(({ kind }) => kind), ["turn", "text", "tool", "text", "end"]);
  assert.equal(items[0].prompt, "Do it");
  assert.equal(items[1].text, "I look");
  assert.equal(items[2].output, "a\n");
  assert.ok(items[2].done && files.has("/w/a") && !running);
  assert.deepEqual(spans.map(({ kind, from, to }) => [kind, (from - 1.8e12) / 1000, (to - 1.8e12) / 1000]), [["model", 0, 3], ["tool", 3, 5], ["model", 5, 7]]);
}

export function subagents_are_below_the_call_that_started_them() {
  const agent = (id, name, parent = "root") => ({ agent: { id, name, parent } });
  const conversation = told(
    event("status", { status: "running" }),
    event("tool_call", { tool: "task", call_id: "1", args: { subagent_type: "explore" } }), event("tool_call", { tool: "task", call_id: "2", args: { subagent_type: "general" } }),
    event("output", { source: "assistant", text: "general here", ...agent("b", "general") }), event("output", { source: "assistant", text: "explore here", ...agent("a", "explore") }),
    // The same id of a call as the root's own.
    event("tool_call", { tool: "bash", call_id: "1", args: {}, ...agent("a", "explore") }), event("tool_result", { tool: "bash", call_id: "1", result: {}, ...agent("a", "explore") }),
    event("output", { source: "assistant", text: "deeper", ...agent("c", "general", "a") }));
  const [, explore, general] = conversation.items;
  assert.equal(explore.agent.items[0].text, "explore here");
  assert.equal(general.agent.items[0].text, "general here");
  assert.ok(!explore.done && explore.agent.items[1].done);
  assert.equal(explore.agent.items[2].agent.items[0].text, "deeper");
  assert.deepEqual(conversation.rows().map(({ depth }) => depth), [0, 0, 1, 1, 1, 2, 0, 1]);
}

export function a_text_of_any_length_is_cut_into_items_and_loses_nothing() {
  const long = Array.from({ length: 4000 }, (_, index) => `line ${index} 😀`).join("\n");
  const fenced = told(event("status", { status: "running" }), event("output", { source: "assistant", text: `\`\`\`txt\n${long}\n\`\`\`\n\nThe end.` }));
  const texts = fenced.items.slice(1).map(({ text }) => text);
  assert.ok(texts.length > 4 && texts.every((text) => text.length < 14_000));
  assert.equal(texts.join("\n").replace(/\n?```(txt)?\n?/g, "\n").replace(/\n+/g, "\n").trim(), `${long}\nThe end.`);
  const one = told(event("status", { status: "running" }), event("output", { source: "assistant", text: "😀".repeat(500_000) }));
  assert.equal(one.items.slice(1).map(({ text }) => text).join(""), "😀".repeat(500_000));
}

export function asks_wait_until_they_are_answered_or_the_turn_ends() {
  const asked = (id) => event("permission", { request_id: id, state: "asked", permission: "bash", deadline: null });
  const conversation = told(event("status", { status: "running" }), asked("p"), asked("q"), event("permission", { request_id: "p", state: "answered", reply: "once", by: "client" }));
  assert.deepEqual([...conversation.asks.keys()], ["q"]);
  conversation.add(event("status", { status: "cancelled" }));
  assert.equal(conversation.asks.size, 0);
  assert.ok(conversation.items.every((item) => item.kind !== "ask" || item.answer));
}

export function turns_that_are_numbered_begin_by_their_number() {
  const conversation = told(event("status", { status: "running", turn: 1 }), event("prompt", { state: "queued", turn: 3 }), event("complete", { turn: 1 }), event("error", { fatal: true, code: "x", turn: 3 }));
  assert.deepEqual(conversation.items.map(({ kind, turn }) => [kind, turn]), [["turn", 1], ["prompt", 1], ["end", 1], ["turn", 3], ["end", 3]]);
}

export function differences_are_found_and_patches_are_read() {
  const kinds = (all) => all.map(({ kind, text }) => `${{ same: " ", added: "+", removed: "-", hunk: "@" }[kind]}${text}`);
  assert.deepEqual(kinds(compare("a\nb\nc\n", "a\nB\nc\nd\n")), [" a", "-b", "+B", " c", "+d"]);
  assert.deepEqual(kinds(compare("", "x\n")), ["+x"]);
  assert.deepEqual(compare("a\nb", "a\nb"), []);
  const far = Array.from({ length: 40 }, (_, index) => `l${index}`);
  const changed = far.with(2, "X").with(35, "Y");
  assert.equal(kinds(compare(far.join("\n"), changed.join("\n"))).filter((line) => line.startsWith("@")).length, 1);
  const [file, other] = parse("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n same\n-old\n+new\n--- /dev/null\n+++ b/y\n@@ -0,0 +1 @@\n+made\n");
  assert.deepEqual([file.file, kinds(file.lines)], ["x", [" same", "-old", "+new"]]);
  assert.deepEqual([other.file, kinds(other.lines)], ["y", ["+made"]]);
  const [sql, ...none] = parse("--- a/x.sql\n+++ b/x.sql\n@@ -1,2 +1,2 @@\n--- old comment\n+++ new comment\n select 1;\n");
  assert.deepEqual([sql.file, kinds(sql.lines), none.length], ["x.sql", ["--- old comment", "+++ new comment", " select 1;"], 0]);
  assert.deepEqual(file.lines.map((line) => [line.old, line.new]), [[1, 1], [2, undefined], [undefined, 2]]);
}

/** A fork and an undoing are told outside of turns. */
export function what_happens_between_turns_is_no_turn() {
  const fork = told(event("status", { status: "completed", turn: 0, reason: "forked from session a after turn 2" }));
  assert.deepEqual([fork.items.map(({ kind }) => kind), fork.running, fork.turn], [["note"], false, 0]);
  for (const status of ["completed", "failed", "cancelled"]) {
    const one = told(event("status", { status: "running", turn: 1 }), event("complete", { turn: 1 }), event("status", { status, turn: 1, reason: "turn 1 was undone" }), event("status", { status: "running", turn: 2 }));
    assert.deepEqual(one.items.map(({ kind, turn }) => [kind, turn]), [["turn", 1], ["end", 1], ["note", 1], ["turn", 2]]);
    assert.ok(one.running);
  }
  // A turn that was stopped before it did anything.
  assert.deepEqual(told(event("status", { status: "cancelled", turn: 1 })).items.map(({ kind }) => kind), ["turn", "end"]);
}

/** Whatever a model or a command writes, showing it takes a time that grows with its length. */
export function no_text_is_slow_to_show() {
  const longest = 40_000;
  // Each by itself, and with another one.
  const parts = ["#", " ", "*", "_", "`", "[", "](", "<", "!", "\\", "|", "-", "1.", "\n", "a", "\u2028", "\r", "\x1b[", "\x1b]8;;", "0;", "+++ b/", "\n@@ -1 +1 @@\n+", "\n - ", "/*", '"'];
  const shows = { markdown, ansi, highlighted: (text) => highlight(text.slice(0, 20_000), "js"), heading: (text) => markdown(`# a${text}`), item: (text) => markdown(`- ${text}`), patch: (text) => parse(`+++ b/${text}`), line: (text) => oneLine(text, longest) };
  withDocument(() => {
    for (const [name, show] of Object.entries(shows)) {
      for (const unit of parts.flatMap((one, index) => [one, one + parts[(index * 7 + 3) % parts.length]])) {
        const before = process.cpuUsage();
        show(`${unit.repeat(longest / unit.length)}a\u2028x`);
        const { user, system } = process.cpuUsage(before);
        assert.ok((user + system) / 1000 < 1500, `${name} of ${JSON.stringify(unit)} takes ${(user + system) / 1000} ms`);
      }
    }
  });
}

export function a_bomb_of_colours_makes_few_elements() {
  withDocument(() => {
    const colours = Array.from({ length: 30_000 }, (_, index) => `\x1b[3${index % 8}m#\x1b[1m+`).join("");
    const { children } = ansi(`${colours}\x1b]0;x\x07 end`);
    assert.ok(children.length < 5000, `${children.length} elements`);
    assert.equal(children.map((one) => (typeof one === "string" ? one : one.children.join(""))).join(""), `${"#+".repeat(30_000)} end`);
  });
  withDocument(() => assert.equal(ansi("10 %\r50 %\r100 %\r\ndone\r\n").children.join(""), "100 %\ndone\n"));
}

export function hidden_characters_are_shown_as_their_codes() {
  const hidden = ["\u0000", "\u001b", "\u0085", "\u00ad", "\u061c", "\u180e", "\u200b", "\u200f", "\u2028", "\u202e", "\u2066", "\ufeff", "\ufff9", "\u{e0041}"];
  for (const one of hidden) assert.equal(visible(`a${one}b`), `a⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩b`);
  assert.equal(visible("a\tb\nc 👩‍💻"), "a\tb\nc 👩‍💻");
}

/** The little of a document that elements are made with. */
function withDocument(action) {
  class Element {
    children = [];
    style = {};
    append(...children) { this.children.push(...children); }
    setAttribute() {}
    addEventListener() {}
  }
  const make = () => new Element();
  Object.assign(globalThis, { Node: Element, document: { createElement: make, createElementNS: make, createDocumentFragment: make } });
  action();
  delete globalThis.document;
}
