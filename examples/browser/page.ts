// The page: a task, and what the agent makes of it. What the model says is shown as text and never as HTML.
import { Sidecar, type SidecarEvent } from "./sidecar.js";

function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

const form = element("task", HTMLFormElement);
const log = element("log", HTMLOListElement);
const state = element("state", HTMLOutputElement);
const stop = element("stop", HTMLButtonElement);
let following = new AbortController();

form.addEventListener("submit", (submit) => {
  submit.preventDefault();
  run(new FormData(form)).catch((error: unknown) => { state.value = `failed: ${String(error)}`; });
});

async function run(given: FormData): Promise<void> {
  const field = (name: string) => String(given.get(name) ?? "");
  following.abort();
  following = new AbortController();
  log.replaceChildren();
  const sidecar = new Sidecar(field("url"), field("token"));
  const session = crypto.randomUUID();
  stop.onclick = () => { sidecar.stop(session).catch((error: unknown) => { state.value = `not stopped: ${String(error)}`; }); };
  state.value = "begins";
  await sidecar.create(session, field("prompt"), { provider: field("provider"), model: field("model"), api_key: field("key") });
  stop.disabled = false;
  for await (const event of sidecar.follow(session, following.signal)) {
    show(event);
    const ended = end(event);
    if (ended !== "") {
      state.value = ended;
      stop.disabled = true;
      return;
    }
  }
}

function end({ kind, data }: SidecarEvent): string {
  if (kind === "complete") return "completed";
  if (kind === "error" && data["fatal"] === true) return `failed: ${String(data["error"])}`;
  return kind === "status" && data["status"] === "cancelled" ? "cancelled" : "";
}

// Text comes in pieces: those of one speaker are one entry.
let last: { source: string; entry: HTMLLIElement } | undefined;

function show({ id, kind, data }: SidecarEvent): void {
  if (kind === "status") {
    state.value = String(data["phase"] ?? data["status"]);
    return;
  }
  const source = kind === "output" ? `${String(data["source"])} ${String(data["call_id"] ?? "")}` : "";
  if (last === undefined || source === "" || last.source !== source || !log.contains(last.entry)) {
    const entry = document.createElement("li");
    entry.className = kind === "output" ? String(data["source"]) : kind;
    log.append(entry);
    last = { source, entry };
  }
  last.entry.dataset["ids"] = `${last.entry.dataset["ids"] ?? ""} ${id}`.trim();
  last.entry.textContent += text(kind, data);
  last.entry.scrollIntoView({ block: "nearest" });
}

function text(kind: string, data: Record<string, unknown>): string {
  switch (kind) {
    case "output": return String(data["text"]);
    case "tool_call": return `${String(data["tool"])} ${JSON.stringify(data["args"])}`;
    case "complete": return `Changed files: ${String(data["files_modified"]) || "none"}`;
    case "error": return String(data["error"]);
    default: return `${kind} ${JSON.stringify(data)}`;
  }
}
