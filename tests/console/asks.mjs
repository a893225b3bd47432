// The agent asks a person, who answers with buttons. The agent is the real one.
import assert from "node:assert/strict";
import { audit, events, fits, open, picture, play, state } from "./browser.mjs";

/** Allowed once, and then rejected with words: the agent goes on with them. */
export async function permissions_are_answered_by_buttons(browser, base) {
  await play(base, "permissions", `tool bash {"command":"echo first-$((40+2))","description":"One"}
text And then.
tool bash {"command":"touch never","description":"Two"}
text I have heard you.`, { permission_mode: "ask", ask_timeout_secs: 100 });
  const { page, close } = await open(browser, `${base}/#/s/permissions`, { width: 360, height: 740 });
  const card = page.locator(".ask-card");
  await card.filter({ hasText: "echo first" }).waitFor();
  await state(page, "waiting_input");
  assert.match(await card.locator(".deadline").innerText(), /^1 min [34]\d s left$/);
  const before = await card.locator(".deadline").innerText();
  await page.waitForFunction((text) => document.querySelector(".deadline").textContent !== text, before);
  await page.waitForFunction(() => document.title.startsWith("(1) "));
  await audit(page, "an ask");
  await fits(page, "an ask");
  await picture(page, "ask-360-dark");
  await card.getByRole("button", { name: "Allow once" }).click();
  await card.filter({ hasText: "touch never" }).waitFor();
  await card.getByLabel("What the agent is to do instead").fill("Leave it alone");
  await card.getByRole("button", { name: "Reject" }).click();
  await state(page, "completed");
  assert.equal(await card.count(), 0);
  await page.getByText("I have heard you.", { exact: true }).waitFor();
  await page.getByText("Allowed once").waitFor();
  await page.getByText("Rejected: Leave it alone").waitFor();
  const replies = (await events(base, "permissions")).filter(({ type, data }) => type === "permission" && data.state === "answered").map(({ data }) => [data.reply, data.message ?? null, data.by]);
  assert.deepEqual(replies, [["once", null, "client"], ["reject", "Leave it alone", "client"]]);
  await close();
}

/** A question with options, answered by one of them; an ask that is answered by a key. */
export async function questions_are_answered_by_buttons(browser, base) {
  await play(base, "questions", `tool question {"questions":[{"question":"Which colour?","header":"Colour","options":[{"label":"Red","description":"warm"},{"label":"Blue","description":"cold"}]}]}
text It is chosen.
tool bash {"command":"echo painted","description":"Paint"}
text Painted.`, { questions: true, permission_mode: "ask" });
  const { page, close } = await open(browser, `${base}/#/s/questions`);
  const card = page.locator(".ask-card");
  await card.getByText("Which colour?").waitFor();
  await audit(page, "a question");
  await picture(page, "question-1280-dark");
  await card.getByRole("radio", { name: /Blue/ }).check();
  await card.getByRole("button", { name: "Answer" }).click();
  await card.filter({ hasText: "echo painted" }).waitFor();
  await page.locator(".session-head h1").focus();
  await page.keyboard.press("a");
  await state(page, "completed");
  await page.getByText("Answered: Blue").waitFor();
  const given = (await events(base, "questions")).find(({ type, data }) => type === "question" && data.state === "answered");
  assert.deepEqual(given.data.answers, [["Blue"]]);
  await close();
}
