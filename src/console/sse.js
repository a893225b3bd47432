// Server-sent events from pieces of text. Knows nothing of the network.

/** Feed it text as it comes; it returns the events that are whole. */
export class SseParser {
  #pieces = [];
  #type = "";
  #data = [];
  #id = null;
  /** The id of the last block that came whole. One that is cut after its id has to be asked for again. */
  lastId = null;
  /** What the server wants the client to wait before it comes back. */
  retry = null;

  push(text) {
    // A long line that comes in many pieces is put together once, at its end.
    if (!text.includes("\n")) {
      this.#pieces.push(text);
      return [];
    }
    const lines = (this.#pieces.join("") + text).split("\n");
    this.#pieces = [lines.pop()];
    return lines.map((line) => this.#line(line.endsWith("\r") ? line.slice(0, -1) : line)).filter(Boolean);
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const raw = colon < 0 ? "" : line.slice(colon + 1);
    const value = raw.startsWith(" ") ? raw.slice(1) : raw;
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#type = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
    return null;
  }

  #dispatch() {
    this.lastId = this.#id ?? this.lastId;
    const event = { id: this.lastId, type: this.#type || "message", raw: this.#data.join("\n") };
    const empty = this.#data.length === 0;
    this.#type = "";
    this.#data = [];
    this.#id = null;
    return empty ? null : event;
  }
}
