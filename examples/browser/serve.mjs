// Serves this folder on loopback, with a policy that lets the page's own script run and nothing else.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const types = { "/": "text/html", "/page.css": "text/css", "/built/page.js": "text/javascript", "/built/sidecar.js": "text/javascript" };
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src http: https:; base-uri 'none'; form-action 'none'";

const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://localhost").pathname;
  if (!(path in types)) {
    response.writeHead(404).end();
    return;
  }
  const body = await readFile(new URL(path === "/" ? "index.html" : `.${path}`, import.meta.url));
  response.writeHead(200, { "content-type": `${types[path]}; charset=utf-8`, "content-security-policy": policy }).end(body);
});
server.listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => {
  console.log(`http://localhost:${server.address().port}`);
});
