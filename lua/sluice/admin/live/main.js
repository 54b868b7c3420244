// SPDX-License-Identifier: MIT
// The page: its charts, tables and reloads, from one stream of this server.

const CHARTS = [
  { id: "streams", title: "Streams", least: 4, format: asNumber, series: [{ key: "streams", label: "open" }] },
  { id: "messages", title: "Messages a second", least: 1, format: asNumber,
    series: [{ key: "sent", label: "delivered" }, { key: "published", label: "published" }] },
  { id: "bytes", title: "Bytes a second", least: 1024, base: 1024, format: asBytes, series: [{ key: "bytes", label: "sent" }] },
  { id: "lag", title: "Lag, from publish to flush", least: 1, format: asLag, series: [{ key: "lag99", label: "99 of 100" }, { key: "lag50", label: "half" }] },
  { id: "drops", title: "Drops a second", least: 1, format: asNumber,
    series: [{ key: "dropped", label: "messages" }, { key: "cut", label: "streams cut off" }] },
  { id: "errors", title: "Errors and refusals a second", least: 1, format: asNumber,
    series: [{ key: "errors", label: "errors" }, { key: "refused", label: "refused" }, { key: "gaps", label: "gaps" }] },
].map((chart) => new Chart(chart));

byId("charts").append(...CHARTS.map((chart) => chart.element));

// --- colours, span -------------------------------------------------------------------------------------

const keep = (name, select, apply) => {
  const kept = localStorage.getItem(name);
  if (kept !== null && [...select.options].some((option) => option.value === kept)) select.value = kept;
  select.addEventListener("change", () => {
    localStorage.setItem(name, select.value);
    apply(select.value);
  });
  apply(select.value);
};

const redraw = () => CHARTS.forEach((chart) => chart.draw());

keep("sluice.theme", byId("theme"), (theme) => {
  document.documentElement.dataset.theme = theme;
  redraw();
});
keep("sluice.span", byId("span"), (seconds) => {
  for (const chart of CHARTS) chart.span = seconds * 1000;
  redraw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// --- samples -------------------------------------------------------------------------------------------

// Charts outlive a reload of the page, in this tab.
const KEPT_SAMPLES = "sluice.samples";
addEventListener("pagehide", () => {
  try {
    sessionStorage.setItem(KEPT_SAMPLES, JSON.stringify(samples));
  } catch { /* full: they are not worth more */ }
});
const restoreSamples = () => {
  const kept = sessionStorage.getItem(KEPT_SAMPLES);
  sessionStorage.removeItem(KEPT_SAMPLES);
  for (const sample of kept ? JSON.parse(kept) : []) {
    if (sample.at > Date.now() - KEPT_MS && sample.at <= Date.now()) addSample(sample);
  }
};

// The quantile of what a histogram counted between two looks at it, in milliseconds; null where it counted nothing. In a bucket times are taken as spread
// evenly; beyond the last bound as that.
const quantileBetween = (old, now, part) => {
  const buckets = Object.entries(now?.buckets ?? {}).map(([end, count]) => [end === "+Inf" ? Infinity : Number(end), count - (old?.buckets?.[end] ?? 0)])
    .sort((a, b) => a[0] - b[0]);
  const wanted = part * buckets.reduce((sum, [, count]) => sum + count, 0);
  let below = 0, start = 0;
  for (const [end, count] of buckets) {
    if (count > 0 && below + count >= wanted) return 1000 * (end === Infinity ? start : start + (end - start) * (wanted - below) / count);
    below += count;
    start = end;
  }
  return null;
};

// What happened between two looks at the counts. Counts that went back are another process's.
const sampleOf = (before, now, at) => {
  const seconds = before && now.uptimeSeconds > before.uptimeSeconds ? now.uptimeSeconds - before.uptimeSeconds : null;
  const rate = (...names) => seconds && names.reduce((sum, name) => sum + now[name] - before[name], 0) / seconds;
  return {
    at, cpu: rate("cpuSeconds"), streams: now.activeConnections, sent: rate("messagesSent"), published: rate("messagesPublished"), bytes: rate("bytesSent"),
    lag50: seconds && quantileBetween(before.deliveryLagSeconds, now.deliveryLagSeconds, .5),
    lag99: seconds && quantileBetween(before.deliveryLagSeconds, now.deliveryLagSeconds, .99),
    dropped: rate("slowConsumerDrops"), cut: rate("slowConsumersDisconnected", "staleDisconnected"),
    errors: rate("errors"), refused: rate("requestsRefused"), gaps: rate("gaps"),
  };
};

let before = null;

const onMetrics = (now) => {
  const sample = sampleOf(before, now, Date.now());
  addSample(sample);
  before = now;
  for (const chart of CHARTS) chart.update();
  showFacts(now, sample.cpu);
};

// The server's own samples, for times of which this page has none.
const onHistory = (history) => {
  let last = null;
  const list = history.samples.map((counts) => {
    const sample = { ...sampleOf(last, counts, Date.now() - (history.now - counts.at) * 1000), step: history.step * 1000 };
    last = counts;
    return sample;
  });
  fillSamples(list.slice(1));
  before ??= last;
};

// --- facts ---------------------------------------------------------------------------------------------

let health = { status: "unknown" };

const showFacts = (metrics, cpu) => {
  const facts = {
    health: health.status, version: server.version, generation: asCount(metrics.generation), workers: asCount(metrics.workers),
    up: asDuration(metrics.uptimeSeconds), cpu: cpu === null ? "–" : `${asNumber(Math.round(cpu * 100))} %`, memory: asBytes(metrics.residentBytes),
    queued: asBytes(metrics.queueBytes),
  };
  if (health.redis) facts.redis = health.redis;
  const list = byId("facts");
  for (const [name, text] of Object.entries(facts)) {
    let entry = list.querySelector(`[data-name="${name}"]`);
    if (!entry) {
      entry = make("div", {}, make("dt", {}, name), make("dd"));
      entry.dataset.name = name;
      list.append(entry);
    }
    setText(entry.lastElementChild, text);
    entry.classList.toggle("bad", (name === "health" && text !== "ok") || (name === "redis" && text !== "connected"));
  }
};

const placeOf = (error) => (error.file ? `${error.file}${error.line ? ":" + error.line : ""}` : "");

const onHealth = (said) => {
  health = said;
  const alarm = byId("alarm"), error = said.reload_error;
  const text = error ? `${placeOf(error)}: ${error.message}` : "";
  if (alarm.dataset.text === text) return;
  alarm.dataset.text = text;
  alarm.hidden = !error;
  alarm.replaceChildren();
  if (error) alarm.append(make("strong", {}, "The scripts cannot be loaded; those before stay in force. "), text);
};

const onReloads = ({ reloads }) => {
  const WHY = { start: "at the start", changed: "files changed", asked: "on request" };
  byId("reloads-list").replaceChildren(...reloads.map((reload) => {
    const item = make("li", { className: reload.ok ? "" : "failed" }, make("div", { className: "head" },
      make("b", {}, reload.ok ? "Loaded" : "Failed"), make("span", {}, `generation ${reload.generation}${reload.ok ? "" : " stays"}`),
      make("time", { dateTime: reload.at }, new Date(reload.at).toLocaleString("en-GB")),
      make("span", { className: "note" }, `${WHY[reload.why] ?? reload.why}, ${asLag(reload.seconds * 1000)}`)));
    if (reload.error) item.append(make("pre", {}, `${placeOf(reload.error)}\n${reload.error.message}`.trim()));
    return item;
  }));
};

// --- tables --------------------------------------------------------------------------------------------

const view = { channels: { sort: "rate", prefix: "" }, streams: { sort: "age" } };

const channelTable = new LiveTable(byId("channels-table"), {
  caption: "Channels by activity", keyOf: (channel) => channel.name, sort: view.channels.sort,
  columns: [
    { title: "Channel", sort: "name", ascending: true, rest: true, value: (channel) => channel.name },
    { title: "Messages/s", sort: "rate", number: true, value: (channel) => asNumber(channel.rate) },
    { title: "Streams", sort: "subscribers", number: true, value: (channel) => asCount(channel.subscribers) },
    { title: "Kept", sort: "messages", number: true, wide: true, value: (channel) => asCount(channel.messages) },
    { title: "Bytes kept", number: true, wide: true, value: (channel) => asBytes(channel.bytes) },
  ],
  acts: [
    { label: "Listen", hint: "Listen to channel", act: (channel) => listenTo(channel.name) },
    { label: "Frames", hint: "Frames of channel", act: (channel) => tapOf("channel", channel.name) },
  ],
  onSort: (sort) => {
    view.channels.sort = sort;
    feed.restart();
  },
});

const onChannels = ({ total, channels }) => {
  setText(byId("channels-count"), total > channels.length ? `${asCount(channels.length)} of ${asCount(total)}` : asCount(total));
  byId("channels-none").hidden = channels.length > 0;
  channelTable.show(channels);
};

const closeStream = async (stream, row) => {
  const buttons = [...row.querySelectorAll("button")];
  for (const button of buttons) button.disabled = true;
  let text;
  try {
    const answer = await fetch("close", {
      method: "POST", headers: door.headers({ "Content-Type": "application/json" }), body: JSON.stringify({ stream: stream.id }), credentials: "same-origin",
    });
    text = answer.ok ? `Stream ${stream.id} is closed.` : answer.status === 404 ? `Stream ${stream.id} had ended already.` : await refusalOf(answer);
    row.classList.toggle("gone", answer.ok || answer.status === 404);
  } catch {
    text = "The server cannot be reached.";
  }
  for (const button of buttons) button.disabled = false;
  say(text);
  setText(byId("streams-said"), text);
};

const streamTable = new LiveTable(byId("streams-table"), {
  caption: "Open streams", keyOf: (stream) => stream.id, sort: view.streams.sort,
  columns: [
    { title: "Stream", sort: "id", ascending: true, fixed: true, value: (stream) => stream.id + (stream.mine ? " (this page)" : "") },
    { title: "Address", value: (stream) => stream.address },
    { title: "User", value: (stream) => stream.user ?? "" },
    { title: "Channels", rest: true, value: (stream) => stream.channels.join(", ")
      + (stream.channel_count > stream.channels.length ? ` and ${asCount(stream.channel_count - stream.channels.length)} more` : "") },
    { title: "Age", sort: "age", number: true, value: (stream) => asDuration(stream.age) },
    { title: "Queue", sort: "queue", number: true, value: (stream) => asBytes(stream.queue) + (stream.replaying ? ", replays" : "") },
    { title: "Events", sort: "events", number: true, wide: true, value: (stream) => asCount(stream.events) },
    { title: "Sent", sort: "bytes", number: true, wide: true, value: (stream) => asBytes(stream.bytes) },
  ],
  acts: [
    { label: "Frames", hint: "Frames of stream", act: (stream) => tapOf("stream", stream.id) },
    { label: "Close", hint: "Close stream", danger: true, act: closeStream },
  ],
  onSort: (sort) => {
    view.streams.sort = sort;
    feed.restart();
  },
});

const onStreams = ({ total, streams, missing }) => {
  const shown = total > streams.length ? `${asCount(streams.length)} of ${asCount(total)}` : asCount(total);
  setText(byId("streams-count"), shown + (missing ? `, without worker ${missing.join(", ")}: it does not answer` : ""));
  byId("streams-none").hidden = streams.length > 0;
  streamTable.show(streams);
};

byId("streams-filter").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = byId("streams-value").value.trim();
  view.streams = { sort: view.streams.sort };
  setText(byId("streams-said"), "");
  if (value) view.streams[byId("streams-by").value] = value;
  feed.restart();
});
// The browser's own cross empties the field.
byId("streams-value").addEventListener("search", () => byId("streams-filter").requestSubmit());

let typing = null;
byId("channels-prefix").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    view.channels.prefix = byId("channels-prefix").value;
    feed.restart();
  }, 300);
});

// --- the stream ----------------------------------------------------------------------------------------

let server = { version: "" };

const onServer = (said) => {
  // Another version of the server has another page.
  if (server.page && server.page !== said.page) location.reload();
  server = said;
};

const EVENTS = { server: onServer, metrics: onMetrics, health: onHealth, channels: onChannels, streams: onStreams, reloads: onReloads, history: onHistory };

const showState = (state, text) => {
  const pill = byId("state");
  pill.dataset.state = state;
  setText(pill, text);
};

byId("host").textContent = location.host;
document.title = `Sluice ${location.host}`;
byId("leave").hidden = !door.signedIn;
byId("leave").addEventListener("click", () => door.leave());
restoreSamples();

let feed;

const url = () => {
  const query = new URLSearchParams();
  for (const [table, settings] of Object.entries(view)) {
    for (const [name, value] of Object.entries(settings)) {
      if (value) query.append(`${table}.${name}`, value);
    }
  }
  const last = samples.at(-1);
  if (last) query.append("missing", Math.ceil((Date.now() - last.at) / 1000));
  return "live?" + query;
};

const follow = () => {
  feed = new Feed(url, {
    onOpen: () => showState("live", "live"),
    onEvent: (event) => {
      if (event.type === "sluice.expired") return door.leave("The token has expired.");
      EVENTS[event.type]?.(JSON.parse(event.data));
    },
    onLost: (why, wait) => showState("lost", `${why}; again in ${asLag(wait)}`),
    onRefused: (why, status) => {
      if (status === 401 || status === 403) return door.leave(why);
      if (status === 400) return forgetFilters(why);
      showState("lost", why);
      setTimeout(follow, MAX_WAIT_MS);
    },
  });
};

// What was asked for makes no sense: then everything is shown, and the reason.
const forgetFilters = (why) => {
  view.channels.prefix = "";
  view.streams = { sort: view.streams.sort };
  byId("channels-prefix").value = byId("streams-value").value = "";
  setText(byId("streams-said"), why);
  follow();
};

follow();
