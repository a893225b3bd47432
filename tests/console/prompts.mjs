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
