// What a session's events tell, as a conversation: texts, tool calls, subagents, asks and ends. Pure: events in, items out.

/** A text item is closed at the next paragraph after so many characters, and at any place after twice as many. */
const PIECE = 6000;
/** What is kept of one tool call's output; the events have all of it. */
const MOST_OUTPUT = 512 * 1024;
/** What a session is between its turns. */
const IDLE = new Set(["completed", "failed", "cancelled"]);

export class Conversation {
  items = [];
  /** Grows when items are added; an item's own `version` grows when it changes. */
  structure = 0;
  turn = 0;
  todo = [];
  files = new Set();
  usage = null;
  /** What took time, for the timeline: `{kind, label, from, to, depth, item}`. */
  spans = [];
  /** Of asks that nobody has answered. */
  asks = new Map();
  running = false;
  #prompts;
  #keys = 0;
  #agents = new Map();
  #tools = new Map();
  #root = { items: this.items, depth: 0, text: null, model: null, open: 0 };

  /** `prompts` knows what a person asked for: turn -> text. */
  constructor(prompts = new Map()) {
    this.#prompts = prompts;
  }

  /** Takes the next event: `{id, type, data}` with `data` parsed. */
  add({ id, type, data }) {
    const at = Date.parse(data.timestamp);
    if (type === "gap") {
      this.#push(this.#root, { kind: "gap", data });
      return;
    }
    if (type === "status" && this.#outside(data)) {
      if (data.reason) this.#push(this.#root, { kind: "note", reason: data.reason, at });
      return;
    }
    if (data.turn > this.turn && data.turn > 0 && type !== "prompt") this.#begin(data.turn, at);
    else if (!this.running && !ends(type, data) && type !== "prompt" && type !== "todo") this.#begin(data.turn ?? this.turn + 1, at);
    const place = this.#place(data.agent, at);
    if (type === "output") this.#output(place, data, at);
    else if (type === "tool_call") this.#call(place, data, at);
    else if (type === "tool_result") this.#result(place, data, at);
    else if (type === "status") this.#status(data, at);
    else if (type === "todo") this.todo = data.items ?? [];
    else if (type === "permission" || type === "question") this.#ask(place, type, data, at);
    else if (type === "prompt") this.#prompt(data, at);
    else if (type === "complete") this.#complete(data, at);
    else if (type === "error") this.#error(data, at);
    if (ends(type, data)) this.#end(type, data, at, id);
  }

  /** A prompt that became known later than its turn, and what the turn was told while it ran. */
  remember(turn, text, ...steered) {
    this.#prompts.set(turn, text);
    const items = this.items.filter((one) => one.turn === turn);
    const begin = items.find((one) => one.kind === "turn");
    if (begin && begin.prompt !== text) touch(begin, { prompt: text });
    items.filter((one) => one.kind === "steer").forEach((one, index) => {
      if (one.prompt === undefined && steered[index] !== undefined) touch(one, { prompt: steered[index] });
    });
  }

  /** Every item that is shown, those of unfolded subagents too. */
  rows() {
    const rows = [];
    const walk = (items) => {
      for (const item of items) {
        rows.push(item);
        if (item.agent && item.unfolded) walk(item.agent.items);
      }
    };
    walk(this.items);
    return rows;
  }

  fold(item, open) {
    touch(item, { unfolded: open });
    this.structure += 1;
  }

  /** Whether a status is of no turn: a fork, an undoing. The log has these while nothing runs. */
  #outside({ status, turn }) {
    return !this.running && IDLE.has(status) && !(status === "cancelled" && turn > this.turn);
  }

  #begin(turn, at) {
    this.turn = turn;
    this.running = true;
    this.#root.model = { from: at };
    this.#root.text = null;
    this.#push(this.#root, { kind: "turn", turn, at, prompt: this.#prompts.get(turn) });
  }

  #push(place, item) {
    place.text = null;
    this.structure += 1;
    Object.assign(item, { key: `i${(this.#keys += 1)}`, version: 0, depth: place.depth, turn: this.turn });
    place.items.push(item);
    return item;
  }

  /** Where the events of an agent go: below the call of `task` that started it. */
  #place(agent, at) {
    if (!agent) return this.#root;
    const known = this.#agents.get(agent.id);
    if (known) return known;
    const above = this.#agents.get(agent.parent) ?? this.#root;
    const free = above.items.filter((item) => item.tool === "task" && !item.agent && !item.done);
    const item = free.find((one) => one.args?.subagent_type === agent.name) ?? free[0]
      ?? this.#push(above, { kind: "tool", tool: "task", args: { description: `Subagent ${agent.name}` }, at, output: "" });
    const place = { items: [], depth: above.depth + 1, text: null, model: { from: at }, open: 0, name: agent.name, agent: agent.id };
    this.#agents.set(agent.id, place);
    touch(item, { agent: place, unfolded: true });
    this.structure += 1;
    return place;
  }

  #output(place, data, at) {
    if (data.source === "tool") {
      const tool = this.#tools.get(callKey(data));
      if (!tool) return;
      tool.output += data.text;
      if (tool.output.length > MOST_OUTPUT) {
        tool.output = tool.output.slice(-MOST_OUTPUT / 2);
        tool.cut = true;
      }
      touch(tool, {});
      return;
    }
    this.#modelSpoke(place, at);
    const kind = data.source === "reasoning" ? "reasoning" : "text";
    let item = place.text?.kind === kind ? place.text : null;
    item ??= this.#push(place, { kind, text: "", at, closed: false });
    place.text = item;
    touch(item, { text: item.text + data.text });
    while (item.text.length > PIECE) {
      const next = split(item);
      if (next === null) break;
      item = this.#push(place, { kind, text: next, at, continued: true });
      place.text = item;
    }
  }

  #call(place, data, at) {
    // Several calls of one answer come together: only before the first of them did the model speak.
    if (place.model) {
      this.#modelSpoke(place, at);
      this.#modelEnds(place, at);
    }
    place.open += 1;
    const item = this.#push(place, { kind: "tool", tool: data.tool, args: data.args, at, output: "", callId: data.call_id, name: data.agent?.name });
    this.#tools.set(callKey(data), item);
    item.span = { kind: "tool", label: data.tool, from: at, to: null, depth: place.depth, item };
    this.spans.push(item.span);
  }

  #result(place, data, at) {
    const item = this.#tools.get(callKey(data));
    if (!item) return;
    this.#tools.delete(callKey(data));
    const result = data.result ?? {};
    const agent = data.tool === "task" ? this.#agents.get(/<task id="([^"]+)"/.exec(result.output ?? "")?.[1]) : null;
    touch(item, { result, done: true, failed: data.is_error, took: data.duration_ms, truncated: data.truncated });
    if (agent && !item.agent) {
      item.agent = agent;
      this.structure += 1;
    }
    item.span.to = at;
    if (item.agent) this.#modelEnds(item.agent, item.agent.model?.span?.last);
    place.open = Math.max(0, place.open - 1);
    if (place.open === 0) place.model = { from: at };
  }

  #modelSpoke(place, at) {
    place.model ??= { from: at };
    if (!place.model.span) {
      place.model.span = { kind: "model", label: "model", from: place.model.from, first: at, to: null, depth: place.depth, agent: place.agent ?? null, turn: this.turn };
      this.spans.push(place.model.span);
    }
    place.model.span.last = at;
  }

  #modelEnds(place, at) {
    if (place.model?.span) place.model.span.to = at ?? place.model.span.last;
    place.model = null;
  }

  #status(data, at) {
    if (!data.phase) return;
    const last = this.items.at(-1);
    if (last?.kind === "phase" && last.phase === data.phase) touch(last, { reason: data.reason, times: last.times + 1 });
    else this.#push(this.#root, { kind: "phase", phase: data.phase, reason: data.reason, at, times: 1 });
  }

  #ask(place, kind, data, at) {
    if (data.state === "asked") {
      const item = this.#push(place, { kind: "ask", ask: kind, requestId: data.request_id, data, at, agentName: data.agent?.name });
      item.span = { kind: "wait", label: kind, from: at, to: null, depth: place.depth, item };
      this.spans.push(item.span);
      this.asks.set(data.request_id, item);
      return;
    }
    const item = this.asks.get(data.request_id);
    if (!item) return;
    this.asks.delete(data.request_id);
    item.span.to = at;
    touch(item, { answer: data });
  }

  #prompt(data, at) {
    if (data.text !== undefined) this.remember(data.turn, data.text);
    if (data.state === "steered") {
      this.#push(this.#root, { kind: "steer", prompt: data.text, at });
      return;
    }
    const last = this.items.findLast((item) => item.kind === "prompt" && item.promptTurn === data.turn);
    if (last) touch(last, { state: data.state });
    else this.#push(this.#root, { kind: "prompt", promptTurn: data.turn, state: data.state, prompt: data.text ?? this.#prompts.get(data.turn), at });
  }

  #complete(data) {
    for (const file of data.files_modified ?? []) this.files.add(file);
    this.usage = data.usage;
  }

  #error(data, at) {
    if (data.fatal) return;
    if (data.retry_after > 0) this.spans.push({ kind: "wait", label: "waiting to ask the provider again", from: at, to: at + data.retry_after * 1000, depth: 0 });
    const last = this.items.at(-1);
    if (last?.kind === "retry") touch(last, { data, times: last.times + 1 });
    else this.#push(this.#root, { kind: "retry", data, at, times: 1 });
  }

  #end(type, data, at) {
    for (const place of [this.#root, ...this.#agents.values()]) {
      this.#modelEnds(place, at);
      place.text = null;
      place.open = 0;
    }
    for (const item of this.#tools.values()) {
      item.span.to = at;
      touch(item, { done: true, stopped: true });
    }
    this.#tools.clear();
    for (const item of this.asks.values()) {
      item.span.to = at;
      touch(item, { answer: { state: "withdrawn" } });
    }
    this.asks.clear();
    this.running = false;
    this.#push(this.#root, { kind: "end", end: type === "status" ? "cancelled" : type, data, at });
  }
}

/** What a session is after the event that ended its turn. */
export const END = { complete: "completed", error: "failed", status: "cancelled" };

/** Whether an event ends its turn. */
export function ends(type, data) {
  return type === "complete" || (type === "error" && data.fatal) || (type === "status" && data.status === "cancelled");
}

/** Two agents may give their calls the same id. */
function callKey(data) {
  return `${data.agent?.id ?? ""} ${data.call_id}`;
}

function touch(item, changes) {
  Object.assign(item, changes);
  item.version += 1;
}

/** Cuts a long text, so that each item stays quick to show. The rest is returned, null if it cannot be cut yet. */
function split(item) {
  const { text } = item;
  let at = text.indexOf("\n\n", PIECE / 2);
  if (at > 0 && at < PIECE * 2 && fences(text.slice(0, at)) === null) {
    item.text = text.slice(0, at);
    item.version += 1;
    return text.slice(at + 2);
  }
  if (text.length < PIECE * 2) return null;
  at = text.lastIndexOf("\n", PIECE * 2);
  if (at < PIECE) at = PIECE * 2;
  // Never between the halves of a character.
  if (/[\ud800-\udbff]/.test(text[at - 1])) at -= 1;
  const head = text.slice(0, at);
  const fence = fences(head);
  item.text = fence === null ? head : `${head}\n${fence.slice(0, 3)}`;
  item.version += 1;
  const rest = text[at] === "\n" ? text.slice(at + 1) : text.slice(at);
  return fence === null ? rest : `${fence}\n${rest}`;
}

/** The line that opened the block of code in which the text ends. */
function fences(text) {
  let open = null;
  for (const [line] of text.matchAll(/^ {0,3}(?:```|~~~).*$/gm)) open = open === null ? line.trim() : null;
  return open;
}
