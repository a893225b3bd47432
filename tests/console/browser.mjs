// A real Chromium, and what holds for every page of the console: no error, no violation of its policy, nothing serious for axe.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createServer, request as ask } from "node:http";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

export function launch() {
  const paths = process.env.PATH.split(":").flatMap((dir) => NAMES.map((name) => `${dir}/${name}`));
  const executablePath = paths.find((path) => existsSync(path));
  assert.ok(executablePath, "no Chromium on PATH: run tools/test-needs (make test does)");
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A page of its own. `close` fails if anything was wrong with it. */
export async function open(browser, url, { width = 1280, height = 800, theme = "dark", expected = [], clock = false } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const faults = [];
  const foreign = [];
  const note = (text) => expected.some((one) => one.test(text)) || faults.push(text);
  page.on("pageerror", (error) => note(`error: ${error.stack}`));
  page.on("console", (message) => message.type() === "error" && note(`console: ${message.text()}`));
  page.on("dialog", (dialog) => { note(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => { if (new URL(request.url()).origin !== new URL(url).origin && !request.url().startsWith("blob:")) foreign.push(request.url()); });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  if (clock) await page.clock.install();
  await page.goto(url);
  const close = async () => {
    const violations = await page.evaluate(() => window.violations);
    await context.close();
    assert.deepEqual({ faults, foreign, violations }, { faults: [], foreign: [], violations: [] });
  };
  return { page, close };
}

/** A proxy in front of the sidecar, which puts it below `prefix` and keeps a header for itself. */
export async function proxy(base, { prefix = "/", keeps = "" } = {}) {
  const server = createServer((request, response) => {
    const own = request.url.startsWith(prefix) ? request.url.slice(prefix.length - 1) : null;
    if (own === null) {
      response.writeHead(404).end();
      return;
    }
    const { [keeps]: _, ...headers } = request.headers;
    const upstream = ask(new URL(own, base), { method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      response.on("close", () => answer.destroy());
    });
    upstream.on("error", () => response.destroy());
    request.pipe(upstream);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}${prefix}`, close };
}

/** What axe-core finds that is serious or worse. */
export async function audit(page, what) {
  // Through the debugger's protocol, which the page's policy does not hold for.
  await page.evaluate(AXE);
  const serious = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] });
    return violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary.slice(0, 220)}`).join(" | ")}`);
  });
  assert.deepEqual(serious, [], `${what} is not accessible`);
}

/** Nothing is wider than the window. */
export async function fits(page, what) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(over <= 0, `${what} is ${over} px wider than the window`);
}

/** A picture for whoever changes the page, in the directory `PICTURES` if that is set. */
export async function picture(page, name) {
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/${name}.png` });
}

/** A whole turn of the demo model, which plays `script`. */
export async function play(base, id, script, more = {}) {
  const body = { session_id: id, prompt: `Play:\n\`\`\`script\n${script}\n\`\`\``, model_config: { provider: "demo", model: "demo", ...more } };
  const response = await fetch(`${base}/sessions`, { method: "POST", body: JSON.stringify(body) });
  assert.equal(response.status, 201, await response.clone().text());
}

/** What a session that only this page knows of answers, but for its stream. */
export function fake(page, id) {
  const body = { session_id: id, status: "running", created_at: "2026-11-20T10:00:00Z", turn: 1, cause: "working", sentence: "The model is at work", next: null, turn_ends_at: null, model: null, also: [], queue: [], processes: [], messages: [], next_cursor: null };
  return page.route(new RegExp(`/sessions/${id}/(status|diagnosis|messages)`), (route) => route.fulfill({ contentType: "application/json", body: JSON.stringify(body) }));
}

/** The events of a session from the first on, when it is idle. */
export async function events(base, id, query = "") {
  const text = await (await fetch(`${base}/sessions/${id}/stream${query}`)).text();
  return text.split("\n\n").filter((block) => block.includes("\ndata: ") && block.includes("id: ")).map((block) => {
    const of = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
    return { type: of("event"), id: of("id"), raw: of("data"), data: JSON.parse(of("data")) };
  });
}

export const state = (page, name) => page.locator(`.session-head .pill.${name}`).waitFor();

/** Opens every row that can be opened, from the first to the last. */
export async function unfold(page) {
  const scroller = page.locator("#panel .scroller");
  await scroller.evaluate((element) => element.scrollTo(0, 0));
  for (let end = false; !end;) {
    end = await scroller.evaluate(async (element) => {
      const drawn = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      await drawn();
      for (const fold of element.querySelectorAll(".fold[aria-expanded=false]")) fold.click();
      await drawn();
      const before = element.scrollTop;
      element.scrollBy(0, element.clientHeight / 2);
      return element.scrollTop === before;
    });
  }
}
