// Makes the picture of the README: sessions of the demo model, as the console shows them.
// node tools/console/picture.mjs <opencode-sidecar> <picture.png>. `make picture` calls it.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { launch, open, state } from "../../tests/console/browser.mjs";
import { smaller } from "./png.mjs";

const [sidecar, picture] = process.argv.slice(2);
const MOST_BYTES = 150 * 1024;

const FETCH = `pub fn fetch(url: &str) -> Result<Body> {
    let answer = client().get(url).send()?;
    Ok(answer.bytes()?)
}
`;
const RETRY = `pub fn fetch(url: &str) -> Result<Body> {
    retry(Backoff::default(), || {
        let answer = client().get(url).send()?;
        Ok(answer.error_for_status()?.bytes()?)
    })
}
`;
const json = JSON.stringify;
const plan = (done) => json({ todos: ["Read how it fetches", "Retry with a backoff", "Test a server that fails twice", "Say it in the changelog"].map((content, at) => ({ content, status: at < done ? "completed" : at === done ? "in_progress" : "pending", priority: "high" })) });
const TESTS = "for t in fetches_once retries_after_503 gives_up_after_five honours_retry_after; do sleep 0.2; printf 'test fetch::%s ... \\033[32mok\\033[0m\\n' $t; done; printf 'test fetch::keeps_the_body ... '; sleep 60";

const MAIN = `tool todowrite ${plan(0)}
tool read {"filePath":"src/fetch.rs"}
tool task ${json({ description: "Find who else fetches", subagent_type: "explore", prompt: "```script\ntool bash {\"command\":\"grep -rn fetch src\",\"description\":\"Search\"}\ntext Only `src/fetch.rs` does.\n```" })}
text The fetcher gives up at the **first** error. I wrap it in \`retry\`, which honours \`Retry-After\`.\\n
tool edit ${json({ filePath: "src/fetch.rs", oldString: FETCH, newString: RETRY })}
tool todowrite ${plan(2)}
text Now the tests.\\n
tool bash ${json({ command: TESTS, description: "cargo test" })}`;

const SESSIONS = [
  ["changelog", "Write the release notes of 2.4", "text Done: `CHANGELOG.md` has them.", {}],
  ["flaky", "Why is the login test flaky?", "error 401 0 the key has expired\ntext .", {}],
  ["dependencies", "Update the dependencies", 'text I look what is new.\ntool bash {"command":"cargo update","description":"Update"}', { permission_mode: "ask" }],
  ["retries", "Retry failed downloads", MAIN, {}],
];

const dir = mkdtempSync(join(tmpdir(), "console-picture-"));
const workspace = join(dir, "workspace");
for (const path of [join(dir, "data"), join(workspace, "src")]) mkdirSync(path, { recursive: true });
writeFileSync(join(workspace, "src/fetch.rs"), FETCH);
execFileSync("git", ["init", "--quiet"], { cwd: workspace });
const server = spawn(sidecar, { env: { ...process.env, WORKSPACE_DIR: workspace, DATA_DIR: join(dir, "data"), HOST: "127.0.0.1", PORT: "0", ANNOUNCE: "json", DEMO_MODEL: "on", LOG_LEVEL: "error" }, stdio: ["ignore", "pipe", "inherit"] });
try {
  const { value: line } = await createInterface({ input: server.stdout })[Symbol.asyncIterator]().next();
  const base = `http://127.0.0.1:${JSON.parse(line).port}`;
  while (!(await fetch(`${base}/ready`)).ok) await new Promise((resolve) => setTimeout(resolve, 200));
  const browser = await launch();
  const { page } = await open(browser, `${base}/`, { width: 1280, height: 840 });
  for (const [id, title, script, more] of SESSIONS) {
    const body = { session_id: id, title, prompt: `${title}.\n\n\`\`\`script\n${script}\n\`\`\``, model_config: { provider: "demo", model: "demo", ...more } };
    const answer = await fetch(`${base}/sessions`, { method: "POST", body: json(body) });
    if (answer.status !== 201) throw new Error(await answer.text());
  }
  // What a person would have asked for has no script in it.
  await page.evaluate((prompt) => sessionStorage.setItem("opencode-sidecar prompts", JSON.stringify({ retries: { 1: prompt } })), "Downloads fail when the mirror answers 503. Retry them.");
  await page.route("**/sessions/retries/messages*", (route) => route.fulfill({ contentType: "application/json", body: '{"messages":[],"next_cursor":null}' }));
  await page.goto(`${base}/#/s/retries`);
  await page.reload();
  await state(page, "running");
  await page.locator(".tail", { hasText: "keeps_the_body" }).waitFor();
  await page.locator(".row.tool .fold", { hasText: "edit" }).click();
  await page.locator(".why .next", { hasText: "left for this turn" }).waitFor();
  await page.locator(".session-rows .dot.waiting_input").waitFor();
  await page.keyboard.press("f");
  await page.mouse.move(700, 300);
  const png = smaller(await page.screenshot());
  await browser.close();
  if (png.length > MOST_BYTES) throw new Error(`the picture has ${png.length} bytes, more than ${MOST_BYTES}`);
  writeFileSync(picture, png);
  console.log(`${picture}: ${Math.ceil(png.length / 1024)} KiB`);
} finally {
  server.kill("SIGTERM");
  server.kill("SIGTERM");
  await new Promise((resolve) => server.once("exit", resolve));
  rmSync(dir, { recursive: true, force: true });
}
