// The tab of all events, and the stream that brings them.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { events, fake, open, play, state } from "./browser.mjs";

const total = (page) => page.locator(".events .toolbar [role=status]").innerText();

export async function events_are_filtered_paused_saved_and_copied(browser, base) {
  await play(base, "raw", `text Hello.
tool bash {"command":"echo needle","description":"x"}
stream 8 150
text one two three four five six seven eight`);
  const { page, close } = await open(browser, `${base}/#/s/raw`);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: base });
  await page.locator("#tab-events").click();
  await page.locator(".event-row").first().waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  const paused = await total(page);
  await state(page, "completed");
  assert.equal(await total(page), paused);
  await page.getByRole("button", { name: "Pause" }).click();
  const all = await events(base, "raw", "?include=reasoning");
  await page.waitForFunction((text) => document.querySelector(".events .toolbar [role=status]").textContent === text, `${all.length} events`);
  await page.getByLabel("Filter events by text").fill("NEEDLE");
  assert.equal(await total(page), `${all.filter(({ raw }) => raw.includes("needle")).length} of ${all.length} events`);
  await page.getByLabel("Filter events by type").selectOption("tool_result");
  assert.equal(await total(page), `1 of ${all.length} events`);
  await page.locator(".event-row .event").click();
  await page.locator(".event-row pre", { hasText: '"exit_code": 0' }).waitFor();
  await page.getByRole("button", { name: "curl from here" }).click();
  await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith("curl -sN '"));
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  const wanted = all.find(({ type }) => type === "tool_result").id;
  const answer = await (await fetch(/'(.*)'/.exec(copied)[1])).text();
  assert.equal(/^id: (.*)$/m.exec(answer)[1], wanted, "the command begins with this event");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save JSONL" }).click()]);
  const lines = (await readFile(await download.path(), "utf8")).trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines.map(({ id }) => id), all.map(({ id }) => id));
  assert.deepEqual(lines.map(({ data }) => data), all.map(({ data }) => data));
  await close();
}

/** Each call of the model has its tokens in the timeline. */
export async function the_timeline_has_calls_waits_and_tokens(browser, base) {
  await play(base, "timed", `text I look.
tool bash {"command":"sleep 0.3","description":"x"}
error 429 1 slow down
text Done.`);
  const { page, close } = await open(browser, `${base}/#/s/timed`);
  await state(page, "completed");
  await page.keyboard.press("3");
  await page.locator(".timeline .used", { hasText: /^\S+ → \S+$/ }).nth(1).waitFor();
  const kinds = await page.locator(".timeline .bar-row .span").evaluateAll((spans) => spans.map((span) => span.classList[1]));
  assert.deepEqual(kinds, ["model", "tool", "wait", "model"]);
  const took = await page.locator(".timeline .bar-row .took").nth(1).innerText();
  assert.match(took, /^[3-9]\d\d ms$|^\d/);
  await page.locator(".timeline button.bar-row").first().click();
  await page.locator("#tab-conversation[aria-selected=true]").waitFor();
  await close();
}

const frame = (type, id, data) => `event: ${type}\n${id ? `id: aaaaaaaaaa-${id}\n` : ""}data: ${JSON.stringify({ timestamp: "2026-11-20T10:00:00Z", turn: 1, ...data })}\n\n`;

/** What is missing is said in red, in the conversation and among the events. */
export async function a_gap_is_shown(browser, base) {
  const { page, close } = await open(browser, `${base}/`);
  const body = frame("status", 1, { status: "running" }) + frame("gap", null, { reason: "evicted", missed: 7, resume_after: "aaaaaaaaaa-8" }) + "id: aaaaaaaaaa-8\n\n" + frame("output", 9, { source: "assistant", type: "stdout", text: "After it." });
  await page.route("**/sessions/gap/stream*", (route) => route.fulfill({ contentType: "text/event-stream", body }));
  await fake(page, "gap");
  await page.evaluate(() => { location.hash = "#/s/gap"; });
  await page.getByText("7 events are missing").first().waitFor();
  await page.keyboard.press("4");
  const colour = await page.locator(".event-row.gap-row .type").first().evaluate((element) => getComputedStyle(element).color);
  const [red, green, blue] = colour.match(/\d+/g).map(Number);
  assert.ok(red > green + 60 && red > blue + 60, `${colour} is no red`);
  await close();
}

/** Two hundred events a second leave the page's thread time for everything else. */
export async function two_hundred_events_a_second_are_no_load(browser, base) {
  const { page, close } = await open(browser, `${base}/`);
  await fake(page, "live");
  await page.evaluate(() => {
    const real = window.fetch;
    window.fetch = (input, init) => {
      if (!String(input).includes("/sessions/live/stream")) return real(input, init);
      const text = new TextEncoder();
      let number = 0;
      const frames = (how_many) => Array.from({ length: how_many }, () => {
        number += 1;
        const data = { timestamp: new Date().toISOString(), turn: 1, type: "stdout", source: "assistant", text: `word **${number}** and \`code\`${number % 40 === 0 ? "\n\n" : " "}` };
        return `event: ${number === 1 ? "status" : "output"}\nid: aaaaaaaaaa-${number}\ndata: ${JSON.stringify(number === 1 ? { ...data, status: "running" } : data)}\n\n`;
      }).join("");
      const body = new ReadableStream({ start: (out) => { window.pump = setInterval(() => out.enqueue(text.encode(frames(10))), 50); } });
      return Promise.resolve(new Response(body, { headers: { "content-type": "text/event-stream" } }));
    };
    location.hash = "#/s/live";
  });
  await page.getByText("word 100", { exact: false }).first().waitFor();
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const work = async () => (await session.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value;
  const [before, from] = [await work(), await page.evaluate(() => Number(document.querySelector(".session").dataset.last.split("-")[1]))];
  await page.waitForFunction((number) => Number(document.querySelector(".session").dataset.last.split("-")[1]) >= number, from + 500);
  const busy = ((await work()) - before) * 1000 / 500;
  const atEnd = await page.locator(".conversation .scroller").evaluate((element) => element.scrollHeight - element.scrollTop - element.clientHeight);
  console.log(`200 events a second: ${busy.toFixed(2)} ms of work an event`);
  assert.ok(busy < 4, `${busy} ms of work an event: more than 80 % of the time`);
  assert.ok(atEnd < 60, "the newest stays in sight");
  await page.evaluate(() => clearInterval(window.pump));
  await close();
}

/** A tab that nobody looks at gives its connections back, and misses nothing. */
export async function a_hidden_tab_rests_and_catches_up(browser, base) {
  await play(base, "unseen", "text Before.");
  const { page, close } = await open(browser, `${base}/#/s/unseen`, { clock: true });
  await page.getByText("Before.", { exact: true }).waitFor();
  const look = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await look(true);
  await page.clock.runFor(25_000);
  await page.locator(".session[data-connection=resting]").waitFor({ state: "attached" });
  await fetch(`${base}/sessions/unseen/prompt`, { method: "POST", body: JSON.stringify({ prompt: "Play:\n```script\ntext Meanwhile.\n```" }) });
  await events(base, "unseen");
  assert.equal(await page.getByText("Meanwhile.", { exact: true }).count(), 0);
  await look(false);
  await page.getByText("Meanwhile.", { exact: true }).waitFor();
  await close();
}
