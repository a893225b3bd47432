// The page of examples/browser, used as a person uses it: node browser.mjs <page> <sidecar> <token>
import assert from "node:assert/strict";
import { createRequire } from "node:module";

// The one that the tests of the console have.
const { chromium } = createRequire(new URL("../console/", import.meta.url))("playwright-core");

const [address, sidecar, token] = process.argv.slice(2);
const options = { executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] };
const browser = await chromium.launch(options);
try {
  const page = await browser.newPage();
  const troubles = [];
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") troubles.push(message.text()); });
  await page.goto(address);
  const state = page.locator("#state");
  const run = async (prompt) => {
    await page.fill("[name=url]", sidecar);
    await page.fill("[name=token]", token);
    await page.fill("[name=prompt]", prompt);
    await page.click("text=Run");
  };

  await run("```script\ntext <img src=x onerror=document.title='owned'> & I look.\ntool bash {\"command\":\"echo seen\"}\ntext Done.\n```");
  await page.waitForFunction(() => document.getElementById("state").value === "completed", null, { timeout: 20_000 });
  const entries = await page.locator("#log li").allTextContents();
  assert.equal(entries[0], "<img src=x onerror=document.title='owned'> & I look.");
  assert.ok(entries.some((entry) => entry.includes('"command":"echo seen"')), entries.join("\n"));
  assert.ok(entries.includes("seen\n"), entries.join("\n"));
  assert.ok(entries.includes("Done."), entries.join("\n"));
  assert.equal(await page.title(), "opencode-sidecar in a page");
  assert.equal(await page.locator("#log img").count(), 0);
  // Each event once, in its order.
  const ids = await page.locator("#log li").evaluateAll((list) => list.flatMap((entry) => entry.dataset.ids.split(" ")));
  const numbers = ids.map((id) => Number(id.split("-")[1]));
  assert.deepEqual(numbers, [...new Set(numbers)].sort((one, other) => one - other));

  await run("```script\ntext Begun.\nwait 60000\n```");
  await page.waitForSelector("#log li:has-text('Begun.')", { timeout: 20_000 });
  await page.click("#stop");
  await page.waitForFunction(() => document.getElementById("state").value === "cancelled", null, { timeout: 20_000 });

  // What the sidecar refuses is said in its words.
  await page.fill("[name=token]", "wrong");
  await page.click("text=Run");
  await page.waitForFunction(() => document.getElementById("state").value.startsWith("failed: "), null, { timeout: 20_000 });
  const refused = troubles.filter((trouble) => !trouble.includes("401"));
  assert.deepEqual(refused, []);
  console.log("passed");
} finally {
  await browser.close();
}
