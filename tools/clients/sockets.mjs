// Two turns of one demo session of the real OpenCode over WebSockets, of clients nobody here wrote: all must be told what the
// stream tells. npm's ws gives the second prompt. The token comes in all three ways.
//
// Usage: node sockets.mjs <sidecar's port> <its secret> <our port> <python>
import { WebSocket } from "ws";
import { browse, create, deadline, equal, here, lines, output, pageServer, parse } from "./start.mjs";
import { talk } from "./talk.js";

const [sidecar, secret, own, python] = process.argv.slice(2);
const base = `http://127.0.0.1:${sidecar}`;
const url = `ws://127.0.0.1:${sidecar}/sessions/sockets/ws`;
const headers = { "x-sidecar-token": secret };

deadline("WebSockets");

const browserSaw = new Promise((resolve) => {
  pageServer(own, ["/talk.html", "/talk.js"], { "/seen": resolve });
});
await create(base, "sockets", headers);

const tries = [
  [url, { protocols: ["opencode-sidecar", `bearer.${secret}`], turns: 2 }],
  [url, { token: secret, turns: 2 }],
  [url, { token: "nope", turns: 2 }],
  [url, { protocols: ["opencode-sidecar", "bearer.nope"], turns: 2 }],
];
browse(`http://127.0.0.1:${own}/talk.html?tries=${encodeURIComponent(JSON.stringify(tries))}`);

// The second turn comes when npm's has seen the first, so that all are there for both.
const [websockets, browser, npm] = await Promise.all([
  output(python, [here("talk.py"), url, secret, "2"]).then(lines),
  browserSaw,
  talk(WebSocket, url, { protocols: ["opencode-sidecar", `bearer.${secret}`], prompt: "And again", turns: 2 }),
]);
const stream = await (await fetch(`${base}/sessions/sockets/stream`, { headers })).text();
const expected = parse(stream).filter(([, id]) => id !== "").map(([kind, id, data]) => [kind, id, JSON.parse(data)]);
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
