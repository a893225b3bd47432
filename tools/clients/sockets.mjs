// Two turns of one demo session of the real OpenCode over WebSockets, of clients nobody here wrote: all must be told what the
// stream tells. npm's ws gives the second prompt. The token comes in all three ways.
//
// Usage: node sockets.mjs <sidecar's port> <its secret> <our port> <python>
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { isDeepStrictEqual } from "node:util";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { talk } from "./talk.js";

const [sidecar, secret, own, python] = process.argv.slice(2);
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const base = `http://127.0.0.1:${sidecar}`;
const url = `ws://127.0.0.1:${sidecar}/sessions/sockets/ws`;
const headers = { "x-sidecar-token": secret };

function fail(why) {
  console.error(`test-clients: ${why}`);
  process.exit(1);
}
setTimeout(() => fail("WebSockets not done within a minute"), 60_000).unref();
const equal = (what, one, other) => {
  if (!isDeepStrictEqual(one, other)) fail(`${what}: ${JSON.stringify(one)} is not ${JSON.stringify(other)}`);
};

// The page that a browser loads, and what it says it saw.
const browserSaw = new Promise((resolve) => {
  createServer((request, response) => {
    const path = request.url.split("?")[0];
    if (request.method === "PUT") {
      let body = "";
      request.on("data", (text) => { body += text; });
      request.on("end", () => { response.end(); resolve(JSON.parse(body)); });
    } else if (path === "/talk.html" || path === "/talk.js") {
      response.setHeader("content-type", path.endsWith("js") ? "text/javascript" : "text/html");
      response.end(readFileSync(here(`.${path}`)));
    } else {
      response.writeHead(404).end();
    }
  }).listen(Number(own), "127.0.0.1");
});

function lines(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], cwd: here(".") });
    process.on("exit", () => child.kill("SIGKILL"));
    child.stdout.setEncoding("utf8");
    let text = "";
    child.stdout.on("data", (more) => { text += more; });
    child.on("close", (code) => (code === 0 ? resolve(text.trim().split("\n").map((line) => JSON.parse(line)))
      : fail(`${command} ended with ${code}`)));
  });
}

const created = await fetch(`${base}/sessions`, {
  method: "POST",
  headers,
  body: JSON.stringify({ session_id: "sockets", prompt: "Hello", model_config: { provider: "demo", model: "demo" } }),
});
if (created.status !== 201) fail(`the session was not made: ${await created.text()}`);

const tries = [
  [url, { protocols: ["opencode-sidecar", `bearer.${secret}`], turns: 2 }],
  [url, { token: secret, turns: 2 }],
  [url, { token: "nope", turns: 2 }],
  [url, { protocols: ["opencode-sidecar", "bearer.nope"], turns: 2 }],
];
const page = `http://127.0.0.1:${own}/talk.html?tries=${encodeURIComponent(JSON.stringify(tries))}`;
const chromium = spawn("chromium", ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
  "--disable-background-networking", "--disable-dev-shm-usage", `--user-data-dir=${process.env.BROWSER_PROFILE}`, page],
  { stdio: "ignore" });
process.on("exit", () => chromium.kill("SIGKILL"));

// The second turn comes when npm's has seen the first, so that all are there for both.
const [websockets, browser, npm] = await Promise.all([
  lines(python, [here("talk.py"), url, secret, "2"]),
  browserSaw,
  talk(WebSocket, url, { protocols: ["opencode-sidecar", `bearer.${secret}`], prompt: "And again", turns: 2 }),
]);
const stream = await (await fetch(`${base}/sessions/sockets/stream`, { headers })).text();
const expected = stream.split("\n\n").flatMap((block) => {
  const field = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
  return field("data") === undefined || field("id") === undefined ? []
    : [[field("event"), field("id"), JSON.parse(field("data"))]];
});
equal("turns", [...new Set(expected.map(([, , data]) => data.turn))], [1, 2]);
const [byProtocol, byMessage, refusedMessage, refusedProtocol] = browser;
const all = { websockets, "npm ws": npm.events, chromium: byProtocol.events, "chromium's first message": byMessage.events };
for (const [name, events] of Object.entries(all)) equal(name, events, expected);
for (const one of [npm, byProtocol, byMessage]) equal("close", [one.code, one.wasClean ?? true], [1000, true]);
equal("protocol", [npm.protocol, byProtocol.protocol, byMessage.protocol], ["opencode-sidecar", "opencode-sidecar", ""]);
equal("answers", byMessage.answers, [{ type: "ack", ref: "auth" }]);
const [ack] = npm.answers;
equal("prompt", [npm.answers.length, ack.type, ack.ref, ack.result.turn], [1, "ack", 7, 2]);
equal("a wrong token", [refusedMessage.code, refusedMessage.answers[0].code], [4401, "unauthorized"]);
equal("a wrong protocol", [refusedProtocol.code, refusedProtocol.events], [1006, []]);
console.log(`${Object.keys(all).join(", ")} agree on ${expected.length} events of two turns`);
process.exit(0);
