// Runs the scenarios of some files in one Chromium: node run.mjs <file,file> <address>. What the test is asked to do is a line on stdout.
import { createInterface } from "node:readline";
import { launch } from "./browser.mjs";

const [files, base] = process.argv.slice(2);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const ask = async (what) => {
  console.log(`ask ${what}`);
  await answers.next();
};
// Some files need no browser.
const browser = base ? await launch() : null;
let failed = false;
const modules = await Promise.all(files.split(",").map((file) => import(`./${file}.mjs`)));
for (const [name, scenario] of modules.flatMap((module) => Object.entries(module))) {
  if (process.env.ONLY && !name.includes(process.env.ONLY)) continue;
  const begun = Date.now();
  try {
    await scenario(browser, base, { ask });
    console.log(`passed ${name}, ${Date.now() - begun} ms`);
  } catch (error) {
    failed = true;
    console.log(`FAILED ${name}: ${error.stack}`);
  }
}
await browser?.close();
process.exit(failed ? 1 : 0);
