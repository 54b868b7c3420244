// SPDX-License-Identifier: MIT
// Reads a stream with npm's `@microsoft/fetch-event-source` and prints what it hands over, a JSON object a line.
//   node fetch_event_source.mjs URL
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PATH}/package.json`);

// It is written for pages: the three things of a page that it touches.
globalThis.window = { fetch: globalThis.fetch, setTimeout, clearTimeout };
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };

const { fetchEventSource } = require("@microsoft/fetch-event-source");

const [url] = process.argv.slice(2);
const say = (object) => process.stdout.write(`${JSON.stringify({ ...object, at: Date.now() / 1000 })}\n`);

fetchEventSource(url, {
  async onopen(response) {
    say({ kind: "open", status: response.status });
  },
  onmessage(message) {
    // It has no default type, and calls this for each blank line.
    say({ kind: "event", event: message.event || "message", data: message.data, id: message.id, retry: message.retry });
  },
  onclose() {
    throw new Error("the server ended the stream"); // or it would not come back
  },
  onerror(error) {
    say({ kind: "error", message: String(error.message) });
  },
});
