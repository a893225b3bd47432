// The sidecar is killed while a page follows a turn, and starts again: the page goes on by itself.
import assert from "node:assert/strict";
import { open, play, state } from "./browser.mjs";

export async function a_killed_sidecar_leaves_no_gap_and_no_repeat(browser, base, { ask }) {
  const words = Array.from({ length: 60 }, (_, index) => `w${index}`).join(" ");
  await play(base, "killed", `stream 60 100\ntext ${words}`);
  // A call that fails while nobody listens is what this is about.
  const { page, close } = await open(browser, `${base}/#/s/killed`, { expected: [/ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET|503/] });
  // The prompt has the words too.
  await page.locator(".row.text", { hasText: "w10" }).waitFor();
  await ask("kill");
  await state(page, "failed");
  await page.waitForFunction(() => document.querySelector(".session").dataset.connection === "live");
  // What the journal has is what the page has: the same ids, each once, in order.
  const replay = await (await fetch(`${base}/sessions/killed/stream?include=reasoning`)).text();
  const ids = [...replay.matchAll(/^id: (\S+)$/gm)].map(([, id]) => id);
  const told = [...replay.matchAll(/^data: (\{.*"source":"assistant".*)$/gm)].map(([, data]) => JSON.parse(data).text).join("");
  assert.ok(told.includes("w10") && replay.includes("the sidecar was restarted during the turn"), `events of both lives: ${replay}`);
  await page.waitForFunction((last) => document.querySelector(".session").dataset.last === last, ids.at(-1));
  await page.keyboard.press("4");
  const seen = new Set();
  const scroller = page.locator("#panel .scroller");
  await scroller.evaluate((element) => element.scrollTo(0, 0));
  for (let at = 0; seen.size < ids.length && at < 200; at += 1) {
    for (const id of await page.locator(".event-row").evaluateAll((rows) => rows.map((row) => row.dataset.id))) seen.add(id);
    await scroller.evaluate((element) => element.scrollBy(0, 300));
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  }
  assert.deepEqual([...seen], ids);
  assert.equal(await page.locator(".toolbar [role=status]").innerText(), `${ids.length} events`);
  assert.equal(await page.locator(".gap-row").count(), 0);
  await page.keyboard.press("1");
  const text = await page.locator(".row.text").first().innerText();
  assert.equal(text.trim(), told.trim(), "no word twice, none missing");
  await close();
}
