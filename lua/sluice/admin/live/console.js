// SPDX-License-Identifier: MIT
// The console, to publish and to subscribe, and the frames: what an operator asks for.

const LINES_KEPT = 200;

// A list of lines, the newest first. They get into the page together, once a picture, however many come.
class Lines {
  constructor(list) { Object.assign(this, { list, waiting: [] }); }

  // `make()` makes the line, if it is ever shown.
  add(make) {
    if (this.waiting.length === 0) requestAnimationFrame(() => this.show());
    this.waiting.push(make);
    if (this.waiting.length > LINES_KEPT) this.waiting.shift();
  }

  show() {
    this.list.prepend(...this.waiting.reverse().map((make) => make()));
    this.waiting = [];
    while (this.list.childElementCount > LINES_KEPT) this.list.lastElementChild.remove();
  }

  clear() { this.list.replaceChildren(); }
}

// A form that opens a feed and closes it again.
class Listener {
  // `name` begins the ids of its elements. `url()`: what to follow; `lastId()`; `onEvent(event)`; `go`, `on`: what its button and its state say.
  constructor(name, { go, on, url, lastId, onEvent }) {
    Object.assign(this, { go, on, url, lastId, onEvent, button: byId(name + "-go"), state: byId(name + "-state"), lines: new Lines(byId(name + "-list")) });
    byId(name).addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.feed) this.stop(this.state.dataset.off);
      else this.start();
    });
    byId(name + "-clear").addEventListener("click", () => this.lines.clear());
    this.state.dataset.off = this.state.textContent;
  }

  tell(text, bad = false) {
    setText(this.state, text);
    this.state.classList.toggle("bad", bad);
  }

  start() {
    this.stop("connecting");
    const url = this.url();
    setText(this.button, "Stop");
    this.feed = new Feed(() => url, {
      onOpen: () => this.tell(this.on),
      onEvent: (event) => this.onEvent(event, this.lines),
      onLost: (why, wait) => this.tell(`${why}; again in ${asLag(wait)}`, true),
      onRefused: (why) => {
        this.stop(why);
        this.tell(why, true);
      },
    }, this.lastId?.());
  }

  stop(text) {
    this.feed?.close();
    this.feed = null;
    setText(this.button, this.go);
    this.tell(text);
  }
}

const line = (head, text, className) => {
  const item = make("li", {}, make("div", { className: "head" }, ...head.filter(([, words]) => words !== "")
    .map(([className, words]) => make("span", { className }, words))));
  item.append(make("pre", { className }, text));
  return item;
};

// --- publish -------------------------------------------------------------------------------------------

const publish = async () => {
  const result = byId("publish-result"), message = { channel: byId("publish-channel").value, data: byId("publish-data").value };
  const type = byId("publish-event").value;
  if (type) message.event = type;
  let text, bad = false;
  try {
    const answer = await fetch("../publish", {
      method: "POST", headers: door.headers({ "Content-Type": "application/json" }), body: JSON.stringify(message), credentials: "same-origin",
    });
    if (answer.ok) {
      const { id, subscribers } = await answer.json();
      text = `Published ${id} to ${asCount(subscribers)} ${subscribers === 1 ? "stream" : "streams"}.`;
    } else {
      bad = true;
      text = `Refused: ${await refusalOf(answer)}`;
    }
  } catch {
    bad = true;
    text = "The server cannot be reached.";
  }
  result.classList.toggle("bad", bad);
  result.textContent = text;
};

byId("publish").addEventListener("submit", (event) => {
  event.preventDefault();
  publish();
});
byId("publish-data").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("publish").requestSubmit();
});

// --- subscribe -----------------------------------------------------------------------------------------

const subscription = new Listener("subscribe", {
  go: "Subscribe", on: "subscribed",
  url: () => {
    const query = new URLSearchParams();
    for (const name of byId("subscribe-channels").value.split(",")) {
      if (name.trim()) query.append("channel", name.trim());
    }
    // "earliest" is no id: it may not stand in a header.
    if (byId("subscribe-id").value === "earliest") query.append("last_event_id", "earliest");
    return "../events?" + query;
  },
  lastId: () => {
    const id = byId("subscribe-id").value.trim();
    return id === "earliest" ? "" : id;
  },
  onEvent: (event, lines) => {
    if (event.type === "sluice.open") return;
    const at = asClock(Date.now());
    lines.add(() => line([["", at], ["type", event.type], ["", event.id]], event.data));
  },
});

const listenTo = (channel) => {
  byId("subscribe-channels").value = channel;
  byId("publish-channel").value = channel;
  byId("subscribe-id").value = "";
  byId("console").scrollIntoView();
  subscription.start();
  byId("subscribe-go").focus({ preventScroll: true });
};

// --- frames --------------------------------------------------------------------------------------------

const tap = new Listener("tap", {
  go: "Show", on: "watching",
  url: () => "tap?" + new URLSearchParams([[byId("tap-by").value, byId("tap-value").value.trim()]]),
  onEvent: (event, lines) => {
    if (event.type === "sluice.expired") return door.leave("The token has expired.");
    if (event.type !== "frame" && event.type !== "dropped") return;
    const said = JSON.parse(event.data);
    if (event.type === "dropped") return lines.add(() => line([["type", `${asCount(said.count)} frames not shown: too many at once`]], ""));
    lines.add(() => line([["", asClock(said.at * 1000)], ["", "stream " + said.stream], ["", said.channel ? "channel " + said.channel : ""]],
      said.frame.replace(/\n+$/, "").replace(/\r/g, "\u240d"), "sent"));
  },
});

const tapOf = (by, value) => {
  byId("tap-by").value = by;
  byId("tap-value").value = value;
  byId("frames").scrollIntoView();
  tap.start();
  byId("tap-go").focus({ preventScroll: true });
};
