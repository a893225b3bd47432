// Serves the console's files from the disk and hands everything else to a sidecar, so that a change is seen by loading
// the page again: node tools/console/serve.mjs http://127.0.0.1:3003 [port]
import { readFile } from "node:fs/promises";
import http from "node:http";

const [target = "http://127.0.0.1:3003", port = "3004"] = process.argv.slice(2);
const files = new URL("../../src/console/", import.meta.url);
const TYPES = { html: "text/html", css: "text/css", js: "text/javascript", svg: "image/svg+xml" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

http.createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://here");
  const page = pathname === "/" && request.headers.accept?.includes("text/html");
  const name = page ? "index.html" : /^\/console\/([a-z]+\.[a-z]+)$/.exec(pathname)?.[1];
  if (name) {
    const body = await readFile(new URL(name, files)).catch(() => null);
    response.writeHead(body ? 200 : 404, { "content-type": `${TYPES[name.split(".")[1]]}; charset=utf-8`, "content-security-policy": POLICY, "cache-control": "no-store" });
    response.end(body);
    return;
  }
  const upstream = http.request(new URL(request.url, target), { method: request.method, headers: request.headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
    response.on("close", () => answer.destroy());
  });
  upstream.on("error", () => response.destroy());
  request.pipe(upstream);
}).listen(Number(port), "127.0.0.1", () => console.log(`http://127.0.0.1:${port}/`));
