// SPDX-License-Identifier: MIT
// Reads a stream with Node's fetch, which asks for gzip and undoes it, and prints its text as it comes.
//   node fetch_gzip.mjs URL
const response = await fetch(process.argv[2], { headers: { Accept: "text/event-stream" } });
if (response.status !== 200 || response.headers.get("content-encoding") !== "gzip") {
  throw new Error(`${response.status} ${response.headers.get("content-encoding")}`);
}
for await (const chunk of response.body) {
  process.stdout.write(chunk);
}
