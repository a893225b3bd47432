// The box at the bottom of a session, while a turn runs.
import assert from "node:assert/strict";
import { events, open, play, state } from "./browser.mjs";

const send = async (page, mode, words) => {
  await page.locator(`.segments [data-mode=${mode}]`).click();
  await page.fill("#follow-up", words);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#follow-up").value === "");
};

/** Each of the three ways to say something to a turn that runs. */
export async function prompts_are_queued_steered_and_interrupt(browser, base) {
  await play(base, "prompts", "text I begin.\nhang");
  const { page, close } = await open(browser, `${base}/#/s/prompts`);
  await page.getByText("I begin.", { exact: true }).waitFor();
  await state(page, "running");
  await send(page, "queue", "Play:\n```script\ntext First of the queue.\n```");
  await page.locator(".queue li").filter({ hasText: "Turn 2 waits" }).waitFor();
  await send(page, "queue", "Never mind");
  await page.locator(".queue li").filter({ hasText: "Turn 3 waits" }).getByRole("button", { name: "Withdraw" }).click();
  await page.getByText("Prompt 3 was withdrawn").waitFor();
  await send(page, "steer", "Look left as well");
  await page.locator(".row.steer").filter({ hasText: "Look left as well" }).waitFor();
  await send(page, "interrupt", "Play:\n```script\ntext Now this.\n```");
  await page.getByText("Now this.", { exact: true }).waitFor();
  await page.getByText("First of the queue.", { exact: true }).waitFor();
  await state(page, "completed");
  assert.equal(await page.locator(".segments").isVisible(), false);
  const log = await events(base, "prompts");
  const said = (turn, text) => log.some(({ type, data }) => type === "output" && data.turn === turn && data.text.includes(text));
  assert.ok(said(4, "Now this.") && said(2, "First of the queue."), "the interrupting prompt is first, what waited is next");
  assert.ok(log.some(({ type, data }) => type === "status" && data.status === "cancelled" && data.turn === 1));
  assert.ok(log.some(({ type, data }) => type === "prompt" && data.state === "steered" && data.turn === 1));
  assert.ok(log.some(({ type, data }) => type === "prompt" && data.state === "withdrawn" && data.turn === 3));
  await close();
}

/** What runs is explained at the top, stopped by a button, and goes on by another. */
export async function a_turn_is_explained_stopped_and_resumed(browser, base) {
  await play(base, "explained", "text I begin.\nhang");
  // A stopped session has no key any more, which the page finds out by asking.
  const { page, close } = await open(browser, `${base}/#/s/explained`, { expected: [/409/] });
  await page.getByText("I begin.", { exact: true }).waitFor();
  const { sentence } = await (await fetch(`${base}/sessions/explained/diagnosis`)).json();
  // All but the first letter, and the figures, which grow.
  const words = sentence.split(/\d/)[0].slice(1);
  await page.locator(".why .sentence").filter({ hasText: words }).waitFor();
  await page.locator(".why .next").filter({ hasText: "left for this turn" }).waitFor();
  await page.locator(".session-rows a", { has: page.locator(".what", { hasText: words }) }).waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await state(page, "cancelled");
  await page.getByRole("button", { name: "Resume", exact: true }).click();
  await page.locator("#dialog #turn-provider").selectOption("demo");
  await page.locator("#dialog .primary").click();
  await page.getByRole("heading", { name: "Turn 2" }).waitFor();
  await state(page, "completed");
  await close();
}

/** A turn that somebody else begins, ends or undoes is shown as if it had been begun here. */
export async function turns_of_other_clients_are_shown(browser, base) {
  const post = (what, body = {}) => fetch(`${base}/sessions/others-turn/${what}`, { method: "POST", body: JSON.stringify(body) });
  await play(base, "others-turn", "text The first.");
  await events(base, "others-turn");
  const { page, close } = await open(browser, `${base}/#/s/others-turn`);
  await state(page, "completed");
  assert.equal(await page.getByRole("button", { name: "Stop", exact: true }).isVisible(), false);
  await post("prompt", { prompt: "Play:\n```script\ntext The second.\nhang\n```" });
  await state(page, "running");
  await page.getByText("The second.", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).waitFor();
  await page.locator(".segments [data-mode=steer]").waitFor();
  await post("stop");
  await state(page, "cancelled");
  await page.locator(".segments").waitFor({ state: "hidden" });
  assert.equal((await post("revert", { turn: 2 })).status, 200);
  await page.locator(".row.note", { hasText: /undone/i }).waitFor();
  assert.equal(await page.locator(".row.turn").count(), 2, "an undoing is no turn");
  assert.equal(await page.getByRole("button", { name: "Stop", exact: true }).isVisible(), false);
  await close();
}

/** A row that changes many times a second can be pressed, and keeps the focus. */
export async function what_is_pressed_stays_while_rows_change(browser, base) {
  await play(base, "pressed", `tool bash {"command":"for i in $(seq 3000); do echo line $i; sleep 0.02; done","description":"Count"}\nhang`);
  const { page, close } = await open(browser, `${base}/#/s/pressed`);
  const fold = page.locator(".row.tool .fold");
  const grows = async () => {
    const text = await page.locator(".row.tool").innerText();
    await page.waitForFunction((before) => document.querySelector(".row.tool").innerText !== before, text);
  };
  await page.locator(".tail", { hasText: "line 3" }).waitFor();
  await fold.evaluate((button) => { button.dataset.before = "yes"; });
  await page.waitForFunction(() => !document.querySelector(".row.tool .fold").dataset.before);
  await fold.hover();
  await page.mouse.down();
  // The next pieces of output come while it is down.
  await page.waitForTimeout(300);
  await page.mouse.up();
  await page.locator(".row.tool .fold[aria-expanded=true]").waitFor();
  // In one step: a row that is found may be another one a moment later.
  await page.evaluate(() => document.querySelector(".row.tool .fold").focus());
  await grows();
  await grows();
  assert.ok(await page.evaluate(() => document.activeElement === document.querySelector(".row.tool .fold")), "the focus stays");
  await page.keyboard.press("Enter");
  await page.locator(".row.tool .fold[aria-expanded=false]").waitFor();
  await fetch(`${base}/sessions/pressed/stop`, { method: "POST" });
  await close();
}
