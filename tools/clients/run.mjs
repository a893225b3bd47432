// One demo session of the real OpenCode, read by clients nobody here wrote: all must tell the same events.
// The browser sits behind nginx and loses its connection once in the middle. A second turn follows, of which it is told
// from the first event of the session and from the end of the first turn.
//
// Usage: node run.mjs <sidecar's port> <browser's port at nginx> <our port> <nginx's port to the sidecar> <go program> <python>
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import net from "node:net";
import { fileURLToPath } from "node:url";

const [sidecar, front, own, relay, golang, python] = process.argv.slice(2);
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const base = `http://127.0.0.1:${sidecar}`;
const ID = "clients";
const STREAM = `/sessions/${ID}/stream`;
const DEADLINE = 60_000;

function fail(why) {
  console.error(`test-clients: ${why}`);
  process.exit(1);
}
setTimeout(() => fail("not done within a minute"), DEADLINE).unref();

// Between nginx and the sidecar: notes each cursor, and cuts the first stream after its second output.
const cursors = [];
function relayTo() {
  let cut = false;
  return net.createServer((client) => {
    const server = net.connect(Number(sidecar), "127.0.0.1");
    let asked = "", answered = "", follows = false;
    client.on("data", (bytes) => {
      asked += bytes.toString("latin1");
      if (!follows && asked.includes("\r\n\r\n")) {
        follows = asked.startsWith(`GET ${STREAM}`);
        if (follows) cursors.push(/^last-event-id: (.*)$/im.exec(asked)?.[1].trim() ?? null);
      }
      server.write(bytes);
    });
    server.on("data", (bytes) => {
      answered += bytes.toString("latin1");
      client.write(bytes);
      if (follows && !cut && answered.split("event: output").length > 2) {
        cut = true;
        // Both sides at once, in the middle of the body: no last chunk.
        client.end(() => client.destroy());
        server.destroy();
      }
    });
    for (const [one, other] of [[client, server], [server, client]]) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.end());
    }
  }).listen(Number(relay), "127.0.0.1");
}

// The page, its script, and where it says what it saw.
function pageServer(seen) {
  return createServer((request, response) => {
    const path = request.url.split("?")[0];
    if (request.method === "PUT") {
      let body = "";
      request.on("data", (text) => { body += text; });
      request.on("end", () => { response.end(); seen(JSON.parse(body)); });
    } else if (path === "/page.html" || path === "/browser.js") {
      response.setHeader("content-type", path.endsWith("js") ? "text/javascript" : "text/html");
      response.end(readFileSync(here(`.${path}`)));
    } else {
      response.writeHead(404).end();
    }
  }).listen(Number(own), "127.0.0.1");
}

function output(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], cwd: here(".") });
    process.on("exit", () => child.kill("SIGKILL"));
    child.stdout.setEncoding("utf8");
    let text = "";
    child.stdout.on("data", (more) => { text += more; });
    child.on("close", (code) => (code === 0 ? resolve(text) : fail(`${command} ended with ${code}`)));
  });
}

// What is on the wire, as the specification reads it. Ours has one data line an event.
function parse(text) {
  return text.split("\n\n").flatMap((block) => {
    const field = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
    const data = field("data");
    return data === undefined ? [] : [[field("event"), field("id") ?? "", data]];
  });
}

const lines = (text) => text.trim().split("\n").map((line) => JSON.parse(line));

const api = await (await fetch(`${base}/openapi.json`)).json();
const kinds = Object.keys(api.components.schemas.Events.properties).join(",");
relayTo();
let onSeen;
pageServer((seen) => onSeen(seen));

// What a browser is given that follows these streams at once, each until it stops by itself.
function browse(urls) {
  const query = urls.map((url) => `url=${encodeURIComponent(url)}`).join("&");
  const page = `http://127.0.0.1:${front}/page.html?${query}&kinds=${kinds}`;
  const profile = `${process.env.BROWSER_PROFILE}/${urls.length}`;
  const chromium = spawn("chromium", ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-dev-shm-usage", `--user-data-dir=${profile}`, page],
    { stdio: "ignore" });
  process.on("exit", () => chromium.kill("SIGKILL"));
  return new Promise((resolve) => { onSeen = resolve; });
}
const told = (events) => events.filter(([kind]) => kind !== "heartbeat");

const created = await fetch(`${base}/sessions`, {
  method: "POST",
  body: JSON.stringify({ session_id: ID, prompt: "Hello", model_config: { provider: "demo", model: "demo" } }),
});
if (created.status !== 201) fail(`the session was not made: ${await created.text()}`);

const url = `${base}${STREAM}`;
const [curl, go, httpx, npm, [browser]] = await Promise.all([
  output("curl", ["-sN", url]).then(parse),
  output(golang, ["read", url]).then(parse),
  output(python, [here("read.py"), url]).then(lines),
  output("node", [here("read.mjs"), url, kinds]).then(lines),
  browse([STREAM]),
]);
const saw = { curl, go, httpx, npm, browser: browser.events };

// A heartbeat is silence, which is not the same for all; it has no id of its own.
for (const [name, events] of Object.entries(saw)) saw[name] = told(events);
const expected = JSON.stringify(saw.curl);
for (const [name, events] of Object.entries(saw)) {
  if (JSON.stringify(events) !== expected) {
    const at = saw.curl.findIndex((event, n) => JSON.stringify(event) !== JSON.stringify(events[n]));
    fail(`${name} differs from curl at ${at}: ${JSON.stringify(events[at])}, curl ${JSON.stringify(saw.curl[at])}`);
  }
}
const seqs = saw.curl.map(([, id]) => Number(id.split("-")[1]));
if (!seqs.every((seq, n) => seq === n + 1)) fail(`ids with holes: ${seqs}`);
const last = saw.curl.at(-1);
if (last[0] !== "complete") fail(`the last event is ${last}`);

// The browser came back twice: after the cut with what it had, after the end with the last id, and then
// a 204 made it stop.
if (cursors.length !== 3 || cursors[0] !== null || cursors[2] !== last[1]) fail(`cursors ${JSON.stringify(cursors)}`);
const resumed = Number(cursors[1].split("-")[1]);
if (!(resumed >= 1 && resumed < seqs.length)) fail(`resumed after ${cursors[1]}`);
if (browser.connections !== 2) fail(`the browser was connected ${browser.connections} times`);
console.log(`${Object.keys(saw).join(", ")} agree on ${seqs.length} events; the browser was cut after ` +
  `${cursors[1]}, resumed, and stopped on 204`);

const taken = await (await fetch(`${base}/sessions/${ID}/prompt`, {
  method: "POST", body: JSON.stringify({ prompt: "And again" }),
})).json();
if (taken.turn !== 2 || taken.last_event_id !== last[1]) fail(`the second turn: ${JSON.stringify(taken)}`);
const [whole, further] = await browse([STREAM, `${STREAM}?last_event_id=${last[1]}`]);
const all = JSON.stringify(told(await output("curl", ["-sN", url]).then(parse)));
const first = told(whole.events).slice(0, saw.curl.length);
if (JSON.stringify(first) !== expected) fail("the replay of the first turn differs");
if (JSON.stringify(told(whole.events)) !== all) fail("the browser's replay of both turns differs from curl's");
if (JSON.stringify([...first, ...told(further.events)]) !== all) fail("what follows the first turn differs");
const turns = new Set(told(further.events).map(([, , data]) => JSON.parse(data).turn));
if (turns.size !== 1 || !turns.has(2)) fail(`turns ${[...turns]}`);
if (whole.connections !== 1 || further.connections !== 1) fail("the browser lost a stream");
console.log("a replay passes the end of the first turn, and what follows it is the second");
process.exit(0);
