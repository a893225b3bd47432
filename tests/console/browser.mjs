// A real Chromium, and what holds for every page of the console: no error, no violation of its policy, nothing serious for axe.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });

/** A page of its own. `close` fails if anything was wrong with it. */
export async function open(browser, url, { width = 1280, height = 800, theme = "dark", expected = [] } = {}) {
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
  await page.goto(url);
  const close = async () => {
    const violations = await page.evaluate(() => window.violations);
    await context.close();
    assert.deepEqual({ faults, foreign, violations }, { faults: [], foreign: [], violations: [] });
  };
  return { page, close };
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

/** A picture for whoever changes the page, in `SCREENSHOTS` if that is set. */
export async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });
}

/** A whole turn of the demo model, which plays `script`. */
export async function play(base, id, script, more = {}) {
  const body = { session_id: id, prompt: `Play:\n\`\`\`script\n${script}\n\`\`\``, model_config: { provider: "demo", model: "demo", ...more } };
  const response = await fetch(`${base}/sessions`, { method: "POST", body: JSON.stringify(body) });
  assert.equal(response.status, 201, await response.clone().text());
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
