// The page of the agent's process.
import assert from "node:assert/strict";
import { audit, open, picture } from "./browser.mjs";

/** Restarted by a button: why there is another process is said, and what it says itself. */
export async function the_engine_is_restarted_and_says_why(browser, base) {
  const { page, close } = await open(browser, `${base}/#/engine`, { expected: [/503/] });
  await page.locator("section.card", { hasText: "EGRESS=list" }).getByText("Nothing was refused.").waitFor();
  // As if a tool had asked.
  await page.route("**/metrics", async (route) => {
    const answer = await route.fetch();
    const text = (await answer.text()).replace(/^(sidecar_egress_requests_total\{outcome="(?:not_listed|allowed)"\}) 0$/gm, "$1 7");
    await route.fulfill({ response: answer, body: text });
  });
  const egress = page.locator("section.card", { hasText: "EGRESS=list · 7 allowed" });
  await egress.locator("dt", { hasText: "not on the list" }).waitFor();
  assert.equal(await egress.locator("dd").textContent(), "7");
  const tile = (name) => page.locator(".tile", { has: page.locator(".muted", { hasText: new RegExp(`^${name}$`) }) }).locator("strong");
  await tile("Process no.").filter({ hasText: /^1$/ }).waitFor();
  await page.getByRole("button", { name: "Restart" }).click();
  await page.locator("#dialog button.danger").click();
  await page.locator(".ended li", { hasText: "requested" }).waitFor();
  await tile("Process no.").filter({ hasText: /^2$/ }).waitFor();
  await tile("State").filter({ hasText: "ready" }).waitFor();
  await page.locator("header a[data-state=ready]").waitFor();
  await page.getByRole("heading", { name: "Last lines of stderr" }).waitFor();
  const graphs = await page.locator(".graph polyline").count();
  assert.ok(graphs >= 8, `${graphs} graphs`);
  await audit(page, "the engine");
  await picture(page, "engine-restarted-1280-dark");
  await close();
}
