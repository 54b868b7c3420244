// SPDX-License-Identifier: MIT
// Follows an event stream with fetch, which can carry the token in a header, as EventSource cannot (HTML standard, 9.2).

// Takes an event stream apart as it comes, cut anywhere. `onEvent({ id, type, data })`; `onRetry(ms)`.
class EventParser {
  constructor(lastId, onEvent, onRetry) {
    Object.assign(this, { lastId, onEvent, onRetry, id: lastId, type: "", data: [], rest: "", first: true });
  }

  feed(text) {
    if (this.first && text) {
      this.first = false;
      if (text[0] === "\uFEFF") text = text.slice(1);
    }
    text = this.rest + text;
    // A CR at the end may be the half of a CRLF.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  line(line) {
    if (line === "") return this.dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.data.push(value);
    else if (field === "event") this.type = value;
    else if (field === "id" && !value.includes("\0")) this.id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.onRetry(Number(value));
  }

  dispatch() {
    this.lastId = this.id;
    if (this.data.length) this.onEvent({ id: this.id, type: this.type || "message", data: this.data.join("\n") });
    this.type = "";
    this.data = [];
  }
}

const MAX_WAIT_MS = 10000;
const SILENCE_MS = 45000; // three heartbeats: what is silent for longer is gone

// What an answer that is no stream says.
const refusalOf = async (answer) => {
  const said = await answer.json().catch(() => null);
  return said && typeof said.error === "string" ? said.error : `the server answers ${answer.status}`;
};

// Follows `url()`, again and again until close(). Callbacks: onOpen(); onEvent(event); onLost(why, ms until the next attempt);
// onRefused(why, status): for good.
class Feed {
  constructor(url, callbacks, lastId = "") {
    Object.assign(this, { url, callbacks, lastId, retry: 1000, failures: 0 });
    this.run();
  }

  close() {
    this.closed = true;
    this.abort?.abort();
    this.wake?.();
  }

  // Connects anew, to what url() gives now.
  restart() {
    this.restarting = true;
    this.abort?.abort();
    this.wake?.();
  }

  async run() {
    while (!this.closed) {
      let why = "the connection was lost", wait = 0;
      this.restarting = false;
      try {
        wait = await this.once() ?? 0;
      } catch (error) {
        why = error instanceof Refusal ? error.message : error.name === "TypeError" ? "the server cannot be reached" : why;
        if (error instanceof Refusal && !error.wait) {
          this.closed = true;
          return this.callbacks.onRefused(error.message, error.status);
        }
        wait = error.wait ?? 0;
        this.failures++;
      }
      if (this.closed || this.restarting) continue;
      wait ||= Math.min(this.retry * 2 ** Math.min(Math.max(this.failures - 1, 0), 10), MAX_WAIT_MS);
      this.callbacks.onLost(why, wait);
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, wait);
      });
    }
  }

  async once() {
    this.abort = new AbortController();
    const headers = door.headers({ Accept: "text/event-stream" });
    if (this.lastId) headers["Last-Event-ID"] = this.lastId;
    const answer = await fetch(this.url(), { headers, cache: "no-store", credentials: "same-origin", signal: this.abort.signal });
    if (answer.status !== 200) {
      const busy = answer.status === 429 || answer.status === 503;
      const seconds = Number(answer.headers.get("Retry-After"));
      throw new Refusal(await refusalOf(answer), answer.status, busy ? (seconds > 0 ? seconds * 1000 : MAX_WAIT_MS) : 0);
    }
    this.failures = 0;
    this.callbacks.onOpen();
    const parser = new EventParser(this.lastId, (event) => {
      this.lastId = event.id;
      this.callbacks.onEvent(event);
    }, (ms) => { this.retry = ms; });
    const reader = answer.body.pipeThrough(new TextDecoderStream("utf-8", { ignoreBOM: true })).getReader();
    for (;;) {
      const silence = setTimeout(() => this.abort.abort(), SILENCE_MS);
      const { value, done } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      if (this.closed) return;
      parser.feed(value);
    }
  }
}

class Refusal extends Error {
  constructor(message, status, wait) {
    super(message);
    Object.assign(this, { status, wait });
  }
}
