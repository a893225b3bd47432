// What the tests of clients begin with: a deadline, a page for the browser, the other programs, and a session with the demo model.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";

const TYPES = { html: "text/html", js: "text/javascript", json: "application/json" };

export const here = (name) => fileURLToPath(new URL(name, import.meta.url));

export function fail(why) {
  console.error(`test-clients: ${why}`);
  process.exit(1);
}

export function equal(what, one, other) {
  if (!isDeepStrictEqual(one, other)) fail(`${what}: ${JSON.stringify(one)} is not ${JSON.stringify(other)}`);
}

export function deadline(what) {
  setTimeout(() => fail(`${what} not done within a minute`), 60_000).unref();
}

// Serves `files` to the browser. What its page puts to a path of `puts` goes to the function there, and is answered when that is done.
export function pageServer(port, files, puts) {
  createServer((request, response) => {
    const path = request.url.split("?")[0];
    if (request.method === "PUT" && puts[path]) {
      let body = "";
      request.on("data", (text) => { body += text; });
      request.on("end", async () => { await puts[path](JSON.parse(body)); response.end(); });
    } else if (files.includes(path)) {
      response.setHeader("content-type", TYPES[path.split(".")[1]]);
      response.end(readFileSync(here(`.${path}`)));
    } else {
      response.writeHead(404).end();
    }
  }).listen(Number(port), "127.0.0.1");
}

// Shows `page` to Chromium, with the profile that BROWSER_PROFILE names.
export function browse(page) {
  run("chromium", ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-dev-shm-usage", `--user-data-dir=${process.env.BROWSER_PROFILE}`, page], "ignore");
}

function run(command, args, stdio) {
  const child = spawn(command, args, { stdio, cwd: here(".") });
  process.on("exit", () => child.kill("SIGKILL"));
  return child;
}

// All that a program prints.
export function output(command, args) {
  return new Promise((resolve) => {
    const child = run(command, args, ["ignore", "pipe", "inherit"]);
    child.stdout.setEncoding("utf8");
    let text = "";
    child.stdout.on("data", (more) => { text += more; });
    child.on("close", (code) => (code === 0 ? resolve(text) : fail(`${command} ended with ${code}`)));
  });
}

export const lines = (text) => text.trim().split("\n").map((line) => JSON.parse(line));

// What is on the wire of a stream, as the specification reads it. Ours has one data line an event.
export function parse(text) {
  return text.split("\n\n").flatMap((block) => {
    const field = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
    const data = field("data");
    return data === undefined ? [] : [[field("event"), field("id") ?? "", data]];
  });
}

export async function create(base, id, headers = {}, prompt = "Hello", config = {}) {
  const model_config = { provider: "demo", model: "demo", ...config };
  const body = JSON.stringify({ session_id: id, prompt, model_config });
  const created = await fetch(`${base}/sessions`, { method: "POST", headers, body });
  if (created.status !== 201) fail(`the session was not made: ${await created.text()}`);
}
