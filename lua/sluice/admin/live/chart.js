// SPDX-License-Identifier: MIT
// Line charts on a canvas, of what happened in the last minutes.

const KEPT_MS = 900000; // the longest span to choose
const GAP_MS = 3500; // two samples further apart than this are not joined

// Samples in order of time: { at: ms, step: ms that it stands for, 0 or missing: about a second; name: number or null, … }.
const samples = [];

const addSample = (sample) => {
  samples.push(sample);
  let old = 0;
  while (samples[old].at < sample.at - KEPT_MS - GAP_MS) old++;
  if (old) samples.splice(0, old);
};

// Adds samples of the past where there are none near.
const fillSamples = (list) => {
  for (const sample of list) {
    const index = sampleIndex(sample.at);
    const isNear = (other) => other && Math.abs(other.at - sample.at) < sample.step / 2;
    if (!isNear(samples[index - 1]) && !isNear(samples[index])) samples.splice(index, 0, sample);
  }
};

// Whether a line goes from the sample before to this one.
const isJoined = (index) => index > 0 && samples[index].at - samples[index - 1].at <= (samples[index].step ?? samples[index - 1].step ?? 0) + GAP_MS;

// The smallest round number that is not below; `base` is 1024 for bytes.
const niceCeiling = (value, base) => {
  const unit = base ** Math.floor(Math.log(Math.max(value, 1)) / Math.log(base));
  const power = unit * 10 ** Math.floor(Math.log10(value / unit) + 1e-9);
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * (1 - 1e-9)) * power;
};

const sampleIndex = (at) => {
  let low = 0, high = samples.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (samples[middle].at < at) low = middle + 1;
    else high = middle;
  }
  return low;
};

class Chart {
  // `series`: [{ key, label }], the first drawn as an area; `format(value)`; `least`: what the scale reaches at least.
  constructor({ id, title, series, format, least, base = 10 }) {
    const names = ["first", "second", "third"];
    this.series = series.map((one, index) => ({ ...one, name: names[index] }));
    Object.assign(this, { title, format, least, base, span: 300000, cursor: null });
    const values = make("dl", { className: "values" });
    for (const one of this.series) {
      one.value = make("dd", {}, "–");
      values.append(make("div", { className: one.name }, make("dt", {}, one.label), one.value));
    }
    this.canvas = make("canvas", { tabIndex: 0 });
    this.canvas.setAttribute("role", "img");
    this.tip = make("div", { className: "at", hidden: true });
    this.element = make("figure", { className: "chart", id: "chart-" + id },
      make("figcaption", {}, make("h2", {}, title), values), this.canvas, this.tip);
    this.canvas.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.canvas.addEventListener("pointerleave", () => this.point(null));
    this.canvas.addEventListener("blur", () => this.point(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.describe();
  }

  // The current values, in words too: at once for who looks, each ten seconds for who listens.
  update() {
    const last = samples.at(-1);
    for (const one of this.series) {
      const value = last?.[one.key];
      setText(one.value, value == null ? "–" : this.format(value));
    }
    if (!this.described || last.at - this.described > 10000) this.describe();
    this.draw();
  }

  describe() {
    const last = samples.at(-1);
    this.described = last?.at;
    const words = this.series.map((one) => `${one.label} ${one.value.textContent}`).join(", ");
    this.canvas.setAttribute("aria-label", `${this.title}: ${words}. Arrow keys read earlier values.`);
  }

  words(sample) {
    return [asClock(sample.at), ...this.series.map((one) => `${one.label} ${sample[one.key] == null ? "–" : this.format(sample[one.key])}`)];
  }

  point(x) {
    if (x === null || !samples.length || !this.area) this.cursor = null;
    else {
      const at = this.area.to - (this.area.left + this.area.width - x) / this.area.width * this.span;
      const after = Math.min(sampleIndex(at), samples.length - 1);
      const before = Math.max(after - 1, 0);
      const nearest = at - samples[before].at < samples[after].at - at ? before : after;
      this.cursor = samples[nearest].at;
    }
    this.draw();
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -samples.length, End: samples.length }[event.key];
    if (event.key === "Escape") this.point(null);
    if (!step || !samples.length) return;
    event.preventDefault();
    const from = this.cursor === null ? samples.length : sampleIndex(this.cursor);
    const first = sampleIndex(samples.at(-1).at - this.span);
    const sample = samples[Math.max(first, Math.min(from + step, samples.length - 1))];
    this.cursor = sample.at;
    say(this.words(sample).join(", "));
    this.draw();
  }

  draw() {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight, ratio = devicePixelRatio || 1;
    if (!width || !height) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "11px system-ui, sans-serif";
    const to = samples.at(-1)?.at ?? Date.now();
    const first = Math.max(sampleIndex(to - this.span) - 1, 0);
    const top = this.top(first);
    const left = Math.ceil(Math.max(pen.measureText(this.format(top)).width, pen.measureText(this.format(top / 2)).width)) + 8;
    this.area = { left, top: 8, width: width - left - 4, height: height - 28, to };
    const style = getComputedStyle(this.element);
    this.drawGrid(pen, top, style.getPropertyValue("--line"), style.getPropertyValue("--muted"));
    pen.save();
    pen.beginPath();
    pen.rect(this.area.left, 0, this.area.width + 4, height);
    pen.clip();
    this.series.forEach((one, index) => this.drawLine(pen, one.key, first, top, style.getPropertyValue("--" + one.name), index === 0));
    pen.restore();
    this.drawCursor(pen, top, style);
  }

  top(first) {
    let most = this.least;
    for (let i = first; i < samples.length; i++) {
      for (const one of this.series) most = Math.max(most, samples[i][one.key] ?? 0);
    }
    return niceCeiling(most, this.base);
  }

  x(at) { return this.area.left + this.area.width - (this.area.to - at) / this.span * this.area.width; }

  y(value, top) { return this.area.top + this.area.height * (1 - value / top); }

  drawGrid(pen, top, line, text) {
    const { left, width, height } = this.area;
    pen.strokeStyle = line;
    pen.fillStyle = text;
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const part of [0, .5, 1]) {
      const y = Math.round(this.y(part * top, top)) + .5;
      pen.beginPath();
      pen.moveTo(left, y);
      pen.lineTo(left + width, y);
      pen.stroke();
      pen.fillText(this.format(part * top), left - 6, y);
    }
    pen.textBaseline = "alphabetic";
    const seconds = this.span / 1000, steps = width < 260 ? 2 : seconds % 50 ? 4 : 5;
    for (let i = 0; i <= steps; i++) {
      const ago = Math.round(seconds - seconds * i / steps);
      pen.textAlign = i === steps ? "right" : "center";
      const label = ago === 0 ? "now" : ago % 60 === 0 ? `−${ago / 60} min` : `−${ago} s`;
      pen.fillText(label, left + width * i / steps, this.area.top + height + 16);
    }
  }

  drawLine(pen, key, first, top, colour, filled) {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = 1.75;
    pen.lineJoin = "round";
    let start = null, last = null;
    const finish = () => {
      if (start === null) return;
      pen.stroke();
      if (filled) {
        pen.lineTo(last, this.y(0, top));
        pen.lineTo(start, this.y(0, top));
        pen.globalAlpha = .14;
        pen.fill();
        pen.globalAlpha = 1;
      }
      start = null;
    };
    for (let i = first; i < samples.length; i++) {
      const value = samples[i][key];
      if (value == null || !isJoined(i)) finish();
      if (value == null) continue;
      const x = this.x(samples[i].at), y = this.y(value, top);
      if (start === null) {
        start = x;
        pen.beginPath();
        pen.moveTo(x, y);
        pen.lineTo(x + .01, y); // one alone is a dot
      } else pen.lineTo(x, y);
      last = x;
    }
    pen.lineCap = "round";
    finish();
  }

  drawCursor(pen, top, style) {
    const sample = this.cursor === null ? null : samples[sampleIndex(this.cursor)];
    this.tip.hidden = !sample;
    if (!sample) return;
    const x = this.x(sample.at);
    pen.strokeStyle = style.getPropertyValue("--muted");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x, this.area.top);
    pen.lineTo(x, this.area.top + this.area.height);
    pen.stroke();
    for (const one of this.series) {
      if (sample[one.key] == null) continue;
      pen.fillStyle = style.getPropertyValue("--" + one.name);
      pen.beginPath();
      pen.arc(x, this.y(sample[one.key], top), 3.5, 0, 7);
      pen.fill();
    }
    setText(this.tip, this.words(sample).join("\n"));
    const left = this.canvas.offsetLeft + x, room = this.tip.offsetWidth + 12;
    this.tip.style.left = `${left + room > this.element.clientWidth ? left - room : left + 12}px`;
  }
}
