// Fetches OpenCode for one architecture and unpacks its binary, if it is the one that is pinned.
// The pin is tools/opencode/package-lock.json. `npm ci` is not enough: for it the platform package is
// optional, so one that is missing or altered would only be left out.
//
//   node opencode.mjs ARCHITECTURE VERSION OUT
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const PACKAGES = { amd64: "opencode-linux-x64", arm64: "opencode-linux-arm64" };

const refuse = (sentence) => {
  console.error(sentence);
  process.exit(1);
};

const [architecture, version, out] = process.argv.slice(2);
const name = PACKAGES[architecture];
if (!name) refuse(`TARGETARCH=${architecture} is not supported: build for ${Object.keys(PACKAGES).join(" or ")}`);

const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
const pin = lock.packages[`node_modules/${name}`];
if (!pin?.integrity?.startsWith("sha512-"))
  refuse(`${name} ${version} has no sha512 in tools/opencode/package-lock.json: add it to package.json there and run \`npm install --package-lock-only\` where the registry has it`);
if (pin.version !== version)
  refuse(`OPENCODE_VERSION=${version} is not what tools/opencode/package-lock.json pins (${name} ${pin.version}): change both`);

const packed = execFileSync("npm", ["pack", `${name}@${version}`, "--ignore-scripts", "--loglevel=error"], { encoding: "utf8" });
const file = packed.trim().split("\n").at(-1);
const integrity = "sha512-" + createHash("sha512").update(readFileSync(file)).digest("base64");
if (integrity !== pin.integrity)
  refuse(`${name} ${version} from the registry is not the one that is pinned: ${integrity} instead of ${pin.integrity}`);

mkdirSync(out, { recursive: true });
execFileSync("tar", ["-xzf", file, "-C", out, "--no-same-owner", "package/bin/opencode"]);
renameSync(join(out, "package/bin/opencode"), join(out, "opencode"));
rmSync(join(out, "package"), { recursive: true });
rmSync(file);
chmodSync(join(out, "opencode"), 0o711);

// The runtime is linked in. Its version is what a search for known faults needs; the binary says it of itself.
const bun = /Bun v(\d+\.\d+\.\d+)/.exec(readFileSync(join(out, "opencode")).toString("latin1"));
if (!bun) refuse(`${name} ${version} does not say which Bun it was made with: papers.mjs needs it`);
writeFileSync(join(out, "opencode.json"), JSON.stringify({ name, version, integrity, bun: bun[1] }));
