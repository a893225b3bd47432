// A conversation of fifteen turns with the real OpenCode over WebSockets of clients nobody here wrote, each with a session of its own:
// prompts that wait, interrupt, steer and are refused, and requests of the agent and of its subagent that are answered in every way.
//
// Usage: node conversation.mjs <sidecar's port> <its secret> <our port> <python>
import { readFileSync } from "node:fs";
import { WebSocket } from "ws";
import { converse } from "./converse.js";
import { browse, create, deadline, equal, fail, here, lines, output, pageServer, parse } from "./start.mjs";

const [sidecar, secret, own, python] = process.argv.slice(2);
const base = `http://127.0.0.1:${sidecar}`;
const headers = { "x-sidecar-token": secret };
const protocols = ["opencode-sidecar", `bearer.${secret}`];
const url = (name) => `ws://127.0.0.1:${sidecar}/sessions/${name}/ws`;
const steps = JSON.parse(readFileSync(here("conversation.json")));

deadline("conversations");
const browserSaw = new Promise((resolve) => {
  pageServer(own, ["/converse.html", "/converse.js", "/conversation.json"], { "/seen": resolve });
});
for (const name of ["websockets", "npm", "chromium"]) {
  await create(base, name, headers, "```script\ntext One.\n```", { permission_mode: "ask", questions: true });
}
const query = new URLSearchParams([["url", url("chromium")], ...protocols.map((protocol) => ["protocol", protocol])]);
browse(`http://127.0.0.1:${own}/converse.html?${query}`);
const [websockets, npm, chromium] = await Promise.all([
  output(python, [here("converse.py"), url("websockets"), secret, here("conversation.json")]).then(lines),
  converse(WebSocket, url("npm"), { protocols, steps }),
  browserSaw,
]);
for (const [name, { stopped, events }] of Object.entries({ websockets: { events: websockets }, npm, chromium })) {
  if (stopped) fail(`${name} stopped at ${JSON.stringify(stopped)} after ${JSON.stringify(events.slice(-5))}`);
  const stream = await (await fetch(`${base}/sessions/${name}/stream`, { headers })).text();
  const expected = parse(stream).filter(([, id]) => id !== "").map(([kind, id, data]) => [kind, id, JSON.parse(data)]);
  equal(name, events, expected);
}
console.log(`websockets, npm ws and chromium each talked through ${steps.length} steps and were told what the streams tell`);
process.exit(0);
