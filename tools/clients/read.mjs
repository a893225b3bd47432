// npm's eventsource prints each event as a line of JSON, then how often it had to connect.
import { EventSource } from "eventsource";
import browser from "./browser.js";

const [url, kinds] = process.argv.slice(2);
const { events, connections } = await browser.follow(EventSource, url, kinds.split(","));
for (const event of events) console.log(JSON.stringify(event));
console.error(connections);
