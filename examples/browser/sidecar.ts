// A client of opencode-sidecar for a web page. The stream is read with fetch and not with EventSource, which cannot
// send the token as a header.

export interface Model {
  provider: string;
  model: string;
  api_key?: string;
}

export interface SidecarEvent {
  id: string;
  kind: string;
  data: Record<string, unknown>;
}

/** The sidecar refused: a sentence for people, a code for programs. */
export class Refused extends Error {
  constructor(readonly status: number, readonly code: string, sentence: string) {
    super(sentence);
  }
}

/** Events are missing between the cursor and what is kept. */
export class Gap extends Error {}

// The sidecar sends a heartbeat every 15 s; a connection that is silent for longer is dead.
const SILENCE = 45_000;
const MAX_PAUSE = 5_000;
// How long a sidecar may be away: as long as a pod takes to be replaced.
const AWAY = 180_000;

export class Sidecar {
  constructor(private readonly url: string, private readonly token: string) {}

  async create(session: string, prompt: string, model: Model): Promise<void> {
    await this.call("POST", "/sessions", { session_id: session, prompt, model_config: model });
  }

  async prompt(session: string, prompt: string): Promise<void> {
    await this.call("POST", `/sessions/${encodeURIComponent(session)}/prompt`, { prompt });
  }

  async stop(session: string): Promise<void> {
    await this.call("POST", `/sessions/${encodeURIComponent(session)}/stop`);
  }

  /** Every event behind the cursor, once and in order, for as long as the signal does not end it. */
  async *follow(session: string, signal: AbortSignal, cursor = ""): AsyncGenerator<SidecarEvent> {
    let [pause, since] = [500, Date.now()];
    while (!signal.aborted) {
      try {
        for await (const event of this.connection(session, cursor, signal)) {
          [pause, since] = [500, Date.now()];
          if (event.kind === "gap") throw new Gap(JSON.stringify(event.data));
          if (event.id !== "") cursor = event.id;
          if (event.kind !== "" && event.id !== "") yield event;
        }
      } catch (error) {
        if (error instanceof Gap || (error instanceof Refused && ![429, 502, 503, 504].includes(error.status))) throw error;
        // What cannot be read would come again with the next connection.
        if (error instanceof SyntaxError || Date.now() - since > AWAY) throw error;
        // Everything else is a connection that was cut, and is made again.
      }
      await wait(pause, signal);
      pause = Math.min(2 * pause, MAX_PAUSE);
    }
  }

  private async *connection(session: string, cursor: string, signal: AbortSignal): AsyncGenerator<SidecarEvent> {
    const ended = new AbortController();
    const end = () => ended.abort();
    signal.addEventListener("abort", end);
    let quiet = setTimeout(end, SILENCE);
    try {
      const query = new URLSearchParams({ follow: "1", ...(cursor === "" ? {} : { last_event_id: cursor }) });
      const answer = await this.send(`/sessions/${encodeURIComponent(session)}/stream?${query}`, { signal: ended.signal });
      if (answer.body === null) return;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(quiet);
        quiet = setTimeout(end, SILENCE);
        const blocks = (text + value).split("\n\n");
        // What the last one lacks comes with the next piece, or again on the next connection.
        text = blocks.pop() ?? "";
        for (const block of blocks) yield parse(block);
      }
    } finally {
      clearTimeout(quiet);
      signal.removeEventListener("abort", end);
      ended.abort();
    }
  }

  private async call(method: string, path: string, body?: unknown): Promise<void> {
    await this.send(path, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  }

  private async send(path: string, options: RequestInit): Promise<Response> {
    const headers: Record<string, string> = { "content-type": "application/json" };
    if (this.token !== "") headers["authorization"] = `Bearer ${this.token}`;
    const answer = await fetch(this.url + path, { ...options, headers });
    if (!answer.ok) {
      const { error, code } = await answer.json().catch(() => ({ error: answer.statusText, code: "none" }));
      throw new Refused(answer.status, code, error);
    }
    return answer;
  }
}

function parse(block: string): SidecarEvent {
  const event: SidecarEvent = { id: "", kind: "", data: {} };
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    const value = line.slice(at + 1).replace(/^ /, "");
    if (line.startsWith("event:")) event.kind = value;
    else if (line.startsWith("id:")) event.id = value;
    else if (line.startsWith("data:")) event.data = JSON.parse(value);
  }
  return event;
}

function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
