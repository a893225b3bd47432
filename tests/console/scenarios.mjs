// What people do with the console, each in a page of its own.
import assert from "node:assert/strict";
import { audit, fake, fits, open, picture, play, proxy, state, unfold } from "./browser.mjs";

const PREFIX = "/team/agent-1/";
const SIZES = [{ width: 1280, height: 800, theme: "dark" }, { width: 1280, height: 800, theme: "light" }, { width: 360, height: 740, theme: "dark" }, { width: 360, height: 740, theme: "light" }];
const AUDITED = new Set(["1280-light", "360-dark"]);

/** One click begins the demo, and everything of it is shown. */
export async function demo_by_one_click(browser, base) {
  const { page, close } = await open(browser, `${base}/`);
  await page.click("#demo");
  await state(page, "completed");
  await page.getByText("That was the demo.").waitFor();
  assert.equal(await page.locator(".row.tool").count(), 3);
  assert.match(await page.locator(".row.turn .said").innerText(), /Show what you can do/);
  await page.locator(".row.tool .fold").first().click();
  await page.locator(".tool-body .output").first().waitFor();
  await page.keyboard.press("2");
  await page.locator(".changes .diff .added").first().waitFor();
  await page.getByRole("button", { name: "Side by side" }).click();
  await page.locator(".changes .diff.split td.line.added").first().waitFor();
  await page.keyboard.press("3");
  await page.locator(".timeline .span.tool").first().waitFor();
  await page.keyboard.press("4");
  await page.locator(".event-row").first().waitFor();
  // A follow-up turn from the box.
  await page.keyboard.press("1");
  await page.fill("#follow-up", "And once more");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Turn 2" }).waitFor();
  await page.getByText("And once more").waitFor();
  await state(page, "completed");
  await close();
}

/** Every view in both themes, wide and narrow: nothing sticks out, and each theme and each width is accessible. */
export async function every_view_is_accessible_and_fits(browser, base) {
  await play(base, "views", `text I look **first**.\\n\\n| a | b |\\n|---|---|\\n| 1 | 2 |\\n
tool bash {"command":"printf '\\\\033[31mred\\\\033[0m\\\\n'; exit 3","description":"Fails"}
tool todowrite {"todos":[{"content":"One","status":"completed","priority":"high"},{"content":"Two","status":"in_progress","priority":"high"}]}
tool write {"filePath":"a-file-with-a-very-long-name-that-does-not-fit-on-a-telephone.md","content":"one\\ntwo\\n"}
tool task {"description":"Look","subagent_type":"general","prompt":"\`\`\`script\\ntext I am the subagent.\\n\`\`\`"}
text Done.\\n\\n\`\`\`rust\\nfn main() {}\\n\`\`\`\\n`);
  const { page, close } = await open(browser, `${base}/#/s/views`, SIZES[0]);
  for (const { width, height, theme } of SIZES) {
    const name = `${width}-${theme}`;
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: theme });
    const check = async (view) => {
      if (AUDITED.has(name)) await audit(page, `${view} at ${name}`);
      await fits(page, `${view} at ${name}`);
      await picture(page, `${view}-${name}`);
    };
    await page.evaluate(() => { location.hash = "#/s/views"; });
    await state(page, "completed");
    await page.getByText("I am the subagent.", { exact: true }).waitFor();
    await unfold(page);
    for (const [index, view] of ["conversation", "changes", "timeline", "events"].entries()) {
      await page.keyboard.press(String(index + 1));
      await page.locator("#panel .row, #panel .diff").first().waitFor();
      await check(view);
    }
    await page.keyboard.press("g");
    await page.locator(".tile").first().waitFor();
    await check("engine");
    await page.keyboard.press("n");
    await page.locator("#prompt").waitFor();
    await check("start");
    // What is typed next is no prompt.
    await page.keyboard.press("Escape");
  }
  await close();
}

/** Whatever a model or a command prints stays text. */
export async function hostile_output_is_harmless(browser, base) {
  const evil = "<script>window.hit=1</script><img src=x onerror=window.hit=2> [a](javascript:window.hit=3) [b](data:text/html,x) ![p](https://evil.example/p.png) <https://ok.example/> \u202Eexe.txt\u202C";
  await play(base, "hostile", `reasoning ${evil}
text ${evil}\\n\\n<svg onload=window.hit=4>\\n\\n${"*_`[".repeat(800)}\\n
tool bash {"command":"head -c 1000000 /dev/zero | tr '\\\\0' x; echo","description":${JSON.stringify(evil)}}
tool bash {"command":"for i in $(seq 20000); do printf '\\\\033[3%sm#\\\\033]8;;javascript:x\\\\007' $((i % 8)); done; printf '\\\\033[2J\\\\033[999999999;1H\\\\033c\\\\033]0;title\\\\007<script>window.hit=5</script>'"}
tool write {"filePath":"<img src=x onerror=window.hit=6>.md","content":${JSON.stringify(`${evil}\n<script>window.hit=7</script>`)}}
text The end.`);
  const { page, close } = await open(browser, `${base}/#/s/hostile`);
  await state(page, "completed");
  await unfold(page);
  const conversation = page.locator(".rows");
  await page.locator(".scroller").first().evaluate((scroller) => scroller.scrollTo(0, 0));
  await page.getByText("<script>window.hit=1</script>").first().waitFor();
  const content = await conversation.innerText();
  assert.ok(content.includes("⟨U+202E⟩exe.txt⟨U+202C⟩"), "what turns text around is shown as its code");
  assert.deepEqual(await page.locator(".rows a").evaluateAll((links) => [...new Set(links.map((link) => link.href))]), ["https://evil.example/p.png", "https://ok.example/"]);
  assert.equal(await page.locator(".rows :is(script, img, iframe, object, form[action], style)").count(), 0);
  for (const key of ["2", "3", "4"]) {
    await page.keyboard.press(key);
    await page.locator("#panel .row, #panel .diff").first().waitFor();
  }
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.equal(await page.evaluate(() => document.title), "hostile · opencode-sidecar");
  await page.keyboard.press("1");
  const spans = await page.locator(".output span").count();
  assert.ok(spans <= 5000, `${spans} elements for one output`);
  await close();
}

/** A long session scrolls without losing frames. */
export async function a_long_session_scrolls_smoothly(browser, base) {
  const { page, close } = await open(browser, `${base}/`);
  for (const [events, id] of [[5000, "long"], [100_000, "longest"]]) {
    await page.evaluate(long, { events, id });
    await fake(page, id);
    const begun = Date.now();
    await page.evaluate((hash) => { location.hash = hash; }, `#/s/${id}`);
    await page.waitForFunction((last) => document.querySelector(".session")?.dataset.last === last, `aaaaaaaaaa-${events}`, { timeout: 60_000 });
    const loaded = Date.now() - begun;
    for (const view of ["1", "4"]) {
      await page.keyboard.press(view);
      await page.locator("#panel .row").first().waitFor();
      const { frames, busy, fps, elements } = await scroll(page);
      console.log(`${events} events, view ${view}: shown after ${loaded} ms, ${frames} frames, ${busy.toFixed(1)} ms of work a frame, ${fps.toFixed(0)} frames a second, ${elements} elements`);
      assert.ok(frames >= 60, `${frames} frames`);
      assert.ok(busy <= 20, `${busy} ms of work a frame: fewer than 50 frames a second`);
      assert.ok(elements < 4000, `${elements} elements in the page`);
    }
  }
  await close();
}

/** Scrolls up and down for a while; how much the page's thread worked for each frame, however busy the machine is. */
async function scroll(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const work = async () => (await session.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value;
  const before = await work();
  const { frames, ms } = await page.evaluate(() => new Promise((resolve) => {
    const scroller = document.querySelector("#panel .scroller");
    const begun = performance.now();
    let frames = 0;
    let step = -700;
    const frame = () => {
      frames += 1;
      if (frames % 45 === 0) step = -step;
      scroller.scrollBy(0, step);
      if (frames < 90) requestAnimationFrame(frame);
      else resolve({ frames, ms: performance.now() - begun });
    };
    requestAnimationFrame(frame);
  }));
  const busy = ((await work()) - before) * 1000 / frames;
  const elements = await page.evaluate(() => document.querySelectorAll("*").length);
  await session.detach();
  return { frames, busy, fps: frames / (ms / 1000), elements };
}

/** Runs in the page: the stream of this session is made there, because a model takes minutes for so much. */
function long({ events, id }) {
  const real = window.fetch;
  window.fetch = (input, init) => (String(input).includes(`/sessions/${id}/stream`) ? Promise.resolve(new Response(stream())) : real(input, init));

  function stream() {
    let number = 0;
    let call = 0;
    const text = new TextEncoder();
    return new ReadableStream({
      pull(out) {
        const lines = [];
        const add = (type, data) => {
          if (number >= events) return;
          number += 1;
          lines.push(`event: ${type}\nid: aaaaaaaaaa-${number}\ndata: ${JSON.stringify({ ...data, timestamp: new Date(1.8e12 + number * 5).toISOString() })}\n\n`);
        };
        if (number === 0) add("status", { status: "running", progress: 0 });
        for (let step = 0; step < 25; step += 1) {
          call += 1;
          for (let piece = 0; piece < 12; piece += 1) add("output", { type: "stdout", source: "assistant", text: `Some **words** of piece ${piece}, and \`code\`.${piece % 6 === 5 ? "\n\n" : " "}` });
          add("tool_call", { tool: "bash", call_id: `c${call}`, args: { command: `echo ${call}` } });
          for (let piece = 0; piece < 6; piece += 1) add("output", { type: "stdout", source: "tool", call_id: `c${call}`, text: `\u001b[32mline ${piece}\u001b[0m\n` });
          add("tool_result", { tool: "bash", call_id: `c${call}`, result: { exit_code: 0, stdout: "x", stderr: "" }, is_error: false, duration_ms: 12 });
        }
        // The stream stays open, as one that is followed does.
        if (lines.length > 0) out.enqueue(text.encode(lines.join("")));
      },
    });
  }
}

/** A proxy may put the console below a path; nothing in it knows where it is. */
export async function it_works_below_a_path(browser, base) {
  const below = await proxy(base, { prefix: PREFIX });
  const { page, close } = await open(browser, below.url);
  await page.click("#demo");
  await state(page, "completed");
  assert.ok(page.url().startsWith(below.url));
  await close();
  below.close();
}
