// Where a secret is set the page asks for it once and keeps it in its tab.
import assert from "node:assert/strict";
import { audit, open, proxy, state } from "./browser.mjs";

export async function the_secret_is_asked_for_once(browser, base) {
  const { page, close } = await open(browser, `${base}/`, { expected: [/401/] });
  await page.fill("#token", "wrong");
  await page.keyboard.press("Enter");
  await page.getByText("The token sent is not accepted.").waitFor();
  await audit(page, "the dialog of the secret");
  await page.fill("#token", "s3cret-of-the-test");
  await page.keyboard.press("Enter");
  await page.click("#demo");
  await state(page, "running");
  await page.reload();
  await state(page, "running");
  assert.equal(await page.locator("#token-dialog[open]").count(), 0, "the tab keeps it over a reload");
  assert.ok(!page.url().includes("s3cret"));
  assert.ok(!JSON.stringify(await page.evaluate(() => ({ ...localStorage }))).includes("s3cret"));
  const other = await page.context().newPage();
  await other.goto(`${base}/`);
  await other.locator("#token-dialog[open]").waitFor();
  await close();
}

/** A proxy that takes `Authorization` for itself does not keep the page from its sidecar. */
export async function a_proxy_may_take_the_authorization(browser, base) {
  const front = await proxy(base, { keeps: "authorization" });
  const { page, close } = await open(browser, front.url, { expected: [/401/] });
  await page.fill("#token", "s3cret-of-the-test");
  await page.keyboard.press("Enter");
  await page.click("#demo");
  await state(page, "running");
  await page.locator(".session[data-connection=live]").waitFor();
  await close();
  front.close();
}
