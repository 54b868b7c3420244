// SPDX-License-Identifier: MIT
// Reads a stream with npm's `eventsource` and prints what it hands over, a JSON object a line.
//   node eventsource.mjs URL TYPE...
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PATH}/package.json`);
const { EventSource } = require("eventsource");

const [url, ...types] = process.argv.slice(2);
const say = (object) => process.stdout.write(`${JSON.stringify({ ...object, at: Date.now() / 1000 })}\n`);

const source = new EventSource(url);
source.onopen = () => say({ kind: "open" });
source.onerror = (error) => say({ kind: "error", message: String(error.message ?? ""), code: error.code ?? 0, state: source.readyState });
for (const type of ["message", ...types]) {
  source.addEventListener(type, (event) => say({ kind: "event", event: event.type, data: event.data, id: event.lastEventId }));
}
