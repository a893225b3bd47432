// Two turns of one demo session of the real OpenCode, read by clients nobody here wrote: all must tell the same events.
// The browser sits behind nginx and loses its connection once in the middle of the first turn. It stops on the 204 after a turn,
// goes on from there with the next turn, and passes the end of the first one when it reads from the start.
//
// Usage: node run.mjs <sidecar's port> <browser's port at nginx> <our port> <nginx's port to the sidecar> <go program> <python>
import net from "node:net";
import { browse, create, deadline, equal, fail, here, lines, output, pageServer, parse } from "./start.mjs";

const [sidecar, front, own, relay, golang, python] = process.argv.slice(2);
const base = `http://127.0.0.1:${sidecar}`;
const ID = "clients";
const STREAM = `/sessions/${ID}/stream`;
const ALL = `/events?session_id=${ID}`;

deadline("streams");

// Between nginx and the sidecar: notes the path and the cursor of each stream, and cuts the first one after its second output.
const asked = [];
function relayTo() {
  let cut = false;
  return net.createServer((client) => {
    const server = net.connect(Number(sidecar), "127.0.0.1");
    let request = "", answered = "", follows = false;
    client.on("data", (bytes) => {
      request += bytes.toString("latin1");
      if (!follows && request.includes("\r\n\r\n")) {
        follows = request.startsWith(`GET ${STREAM}`);
        const path = request.split(" ", 2)[1];
        if (follows) asked.push([path, /^last-event-id: (.*)$/im.exec(request)?.[1].trim() ?? null]);
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

const url = `${base}${STREAM}`;
const api = await (await fetch(`${base}/openapi.json`)).json();
const kinds = Object.keys(api.components.schemas.Events.properties).join(",");
relayTo();
await create(base, ID);
const others = Promise.all([
  output("curl", ["-sN", url]).then(parse),
  output(golang, ["read", url]).then(parse),
  output(python, [here("read.py"), url]).then(lines),
  output("node", [here("read.mjs"), url, kinds]).then(lines),
]);
// The second turn comes when all have seen the first, which is the one they read.
async function secondTurn() {
  await others;
  const prompted = await fetch(`${base}/sessions/${ID}/prompt`, { method: "POST", body: '{"prompt":"And again"}' });
  if (prompted.status !== 202) fail(`no second turn: ${await prompted.text()}`);
}
const browserSaw = new Promise((resolve) => {
  pageServer(own, ["/page.html", "/browser.js"], { "/turn": secondTurn, "/seen": resolve });
});
browse(`http://127.0.0.1:${front}/page.html?url=${STREAM}&all=${encodeURIComponent(ALL)}&kinds=${kinds}`);

const [[curl, go, httpx, npm], { first, idle, next, replay, everything }] = await Promise.all([others, browserSaw]);
const saw = { curl, go, httpx, npm, browser: first.events };

// A heartbeat is silence, which is not the same for all; it has no id of its own.
const told = (events) => events.filter(([kind]) => kind !== "heartbeat");
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
const resumed = Number(asked[1]?.[1]?.split("-")[1]);
if (!(resumed >= 1 && resumed < seqs.length)) fail(`asked ${JSON.stringify(asked)}`);
equal("asked", asked.slice(0, 3), [[STREAM, null], [STREAM, asked[1][1]], [STREAM, last[1]]]);
equal("connections", first.connections, 2);

// One that asks for what comes after the last event gets a 204 at once, and nothing of the turn that comes later.
const after = `${STREAM}?last_event_id=${last[1]}`;
equal("asked while idle", [asked[3], idle], [[after, null], { events: [], connections: 0 }]);
// The next turn streams from there; a replay passes the end of the first; both stop on the 204 after the second.
const both = told(parse(await output("curl", ["-sN", url])));
equal("first turn", both.slice(0, saw.curl.length), saw.curl);
equal("turns", both.map(([, , data]) => JSON.parse(data).turn).filter((turn, n, all) => turn !== all[n - 1]), [1, 2]);
equal("next turn", [told(next.events), next.connections], [both.slice(saw.curl.length), 1]);
equal("replay", [told(replay.events), replay.connections], [both, 1]);
const [, end] = both.at(-1);
const rest = asked.slice(4).map((one) => JSON.stringify(one)).sort();
equal("asked later", rest, [[STREAM, null], [STREAM, end], [after, null], [after, end]].map((one) => JSON.stringify(one)).sort());
// The stream of all sessions has the same, under ids of its own that only grow.
const positions = told(everything.events).map(([, id]) => Number(id.split("-")[1]));
if (!positions.every((id, n) => n === 0 || id > positions[n - 1])) fail(`ids of /events: ${positions}`);
equal("/events", told(everything.events).map(([kind, , text]) => {
  const { session_id, event_id, ...data } = JSON.parse(text);
  return [kind, session_id, event_id, data];
}), both.map(([kind, id, text]) => [kind, ID, id, JSON.parse(text)]));
console.log(`${Object.keys(saw).join(", ")} agree on ${seqs.length} events; the browser was cut after ${asked[1][1]}, resumed, ` +
  `stopped on 204, went on with the second turn, and replayed both; /events had the same ${both.length}`);
process.exit(0);
