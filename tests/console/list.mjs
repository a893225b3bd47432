// The list of sessions, and what is done from it.
import assert from "node:assert/strict";
import { audit, fits, open, picture, play, state } from "./browser.mjs";

const row = (page, title) => page.locator(".session-rows li").filter({ has: page.locator(".title", { hasText: title }) });
const menu = async (page, title, action) => {
  await row(page, title).hover();
  await row(page, title).locator(".more").click();
  await page.locator(`#menu [data-action=${action}]`).click();
};

/** Sessions of others come and change by the stream of all events, without asking again and again. */
export async function the_list_is_live_without_polling(browser, base) {
  const { page, close } = await open(browser, `${base}/#/engine`);
  await page.locator("body[data-live=true]").waitFor();
  await play(base, "elsewhere", "text Hello.\nhang");
  await row(page, "elsewhere").locator(".dot.running").waitFor();
  const asked = [];
  page.on("request", (request) => { if (new URL(request.url()).pathname === "/sessions") asked.push(request.url()); });
  await fetch(`${base}/sessions/elsewhere/stop`, { method: "POST" });
  await row(page, "elsewhere").locator(".dot.cancelled").waitFor();
  // Longer than any refresh that was under way.
  await page.waitForTimeout(1500);
  assert.deepEqual(asked, [], "the list is read once");
  await close();
}

export async function sessions_are_found_renamed_forked_stopped_and_deleted(browser, base) {
  await play(base, "apple", "text An apple.");
  await play(base, "pear", "error 401 0 no such key\ntext A pear.");
  await play(base, "plum", "text A plum.\nhang");
  const { page, close } = await open(browser, `${base}/`);
  await row(page, "pear").locator(".dot.failed").waitFor();
  await page.getByRole("button", { name: /^Failed/ }).click();
  assert.ok(await row(page, "pear").isVisible());
  assert.equal(await row(page, "apple").count(), 0);
  assert.match(await row(page, "pear").locator(".what").innerText(), /no such key/);
  await page.getByRole("button", { name: /^All/ }).click();
  await page.fill("#search", "app");
  await row(page, "pear").waitFor({ state: "detached" });
  await menu(page, "apple", "rename");
  await page.fill("#dialog-text", "Fruit of the tree");
  await page.keyboard.press("Enter");
  await row(page, "Fruit of the tree").waitFor();
  await page.fill("#search", "");
  await row(page, "Fruit of the tree").hover();
  await row(page, "Fruit of the tree").locator(".more").click();
  await audit(page, "the menu");
  await picture(page, "menu-1280-dark");
  await page.keyboard.press("Escape");
  await menu(page, "Fruit of the tree", "fork");
  await page.locator(".rail a", { hasText: "apple" }).waitFor();
  await menu(page, "plum", "stop");
  await row(page, "plum").locator(".dot.cancelled").waitFor();
  await menu(page, "plum", "delete");
  await page.locator("#dialog button.danger").click();
  await row(page, "plum").waitFor({ state: "detached" });
  await page.reload();
  await row(page, "pear").waitFor();
  assert.equal(await row(page, "plum").count(), 0, "this browser keeps it off the list");
  await page.getByRole("button", { name: /taken off the list/ }).click();
  await row(page, "plum").waitFor();
  await close();
}

/** Everything without a mouse. */
export async function the_keyboard_is_enough(browser, base) {
  await play(base, "keys", "text Another one.");
  const { page, close } = await open(browser, `${base}/`);
  await page.locator("#prompt:focus").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await page.locator("#dialog[open] .keys").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#dialog:not([open])").waitFor({ state: "attached" });
  await page.keyboard.press("n");
  await page.locator("#prompt:focus").waitFor();
  await page.keyboard.press("Tab");
  await page.locator("#provider:focus").waitFor();
  for (let presses = 0; presses < 30 && !(await page.locator("#demo:focus").count()); presses += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await state(page, "completed");
  for (const [key, view] of [["2", "changes"], ["3", "timeline"], ["4", "events"], ["1", "conversation"]]) {
    await page.keyboard.press(key);
    await page.locator(`#tab-${view}[aria-selected=true]`).waitFor();
  }
  await page.locator("#tab-conversation").focus();
  await page.keyboard.press("ArrowRight");
  await page.locator("#tab-changes[aria-selected=true]:focus").waitFor();
  await page.keyboard.press("m");
  await page.locator("#menu [role=menuitem]:focus").waitFor();
  await page.keyboard.press("ArrowDown");
  await page.locator("#menu [role=menuitem]:nth-child(2):focus").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("c");
  await page.locator("#follow-up:focus").waitFor();
  await page.keyboard.press("Escape");
  const { hash } = new URL(page.url());
  await page.keyboard.press("j");
  await page.waitForFunction((before) => location.hash !== before, hash);
  await page.keyboard.press("/");
  await page.locator("#search:focus").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.getByRole("heading", { name: "Engine" }).waitFor();
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await colour();
  await page.keyboard.press("t");
  assert.equal(await colour(), dark, "dark is what this browser wants");
  await page.keyboard.press("t");
  assert.notEqual(await colour(), dark);
  await close();
}

/** What is chosen for a new session is what is sent, and a field that is refused is named and found. */
export async function the_form_sends_what_is_chosen(browser, base) {
  const { page, close } = await open(browser, `${base}/`, { expected: [/400|ERR_FAILED/] });
  await page.fill("#prompt", "Do it");
  await page.selectOption("#provider", "local");
  await page.fill("#model", "llama3");
  await page.getByText("Tools and permissions").click();
  await page.locator("#tool-webfetch").uncheck();
  await page.selectOption("#permission_mode", "ask");
  await page.locator("#ask-webfetch").uncheck();
  await page.locator("#questions").check();
  await page.fill("#ask_timeout_secs", "60");
  assert.equal(await page.locator("#egress_allow").isVisible(), false);
  await page.selectOption("#egress", "list");
  await page.fill("#egress_allow", "registry.npmjs.org\n pypi.org:443");
  await audit(page, "the form");
  await fits(page, "the form");
  await picture(page, "form-1280-dark");
  await page.getByText("System prompt and limits").click();
  await page.fill("#system_prompt", "Be brief");
  await page.fill("#max_calls", "9");
  await page.fill("#timeout_secs", "999999999");
  const sent = page.waitForRequest((request) => request.method() === "POST");
  await page.getByRole("button", { name: "Start" }).click();
  const { session_id: id, ...body } = (await sent).postDataJSON();
  assert.match(id, /^do-it-\w{4}$/);
  assert.deepEqual(body, {
    title: "Do it", prompt: "Do it", system_prompt: "Be brief", timeout_secs: 999999999,
    model_config: { provider: "local", model: "llama3", enabled_tools: ["bash", "read", "write", "edit", "glob", "grep", "task", "todowrite"], permission_mode: "ask", ask_tools: ["bash", "write", "edit"], questions: true, ask_timeout_secs: 60, egress_allow: ["registry.npmjs.org", "pypi.org:443"], max_calls: 9 },
  });
  await page.getByRole("alert").filter({ hasText: "timeout_secs" }).waitFor();
  await page.locator("#timeout_secs:focus").waitFor();
  await page.fill("#timeout_secs", "");
  await page.selectOption("#permission_mode", "rules");
  await page.fill("#rules", "allow bash git *\n\n deny  webfetch");
  await page.selectOption("#egress", "none");
  const again = page.waitForRequest((request) => request.method() === "POST");
  await page.route("**/sessions", (route) => route.abort());
  await page.getByRole("button", { name: "Start" }).click();
  assert.equal((await again).postDataJSON().model_config.egress, "none");
  assert.deepEqual((await again).postDataJSON().model_config.permission_mode, [{ action: "allow", permission: "bash", pattern: "git *" }, { action: "deny", permission: "webfetch", pattern: "*" }]);
  await page.getByRole("alert").filter({ hasText: "nothing was started" }).waitFor();
  await close();
}
