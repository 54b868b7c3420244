// SPDX-License-Identifier: MIT
// Elements and how values read. Text of the server's gets into the page as text only.

const byId = (id) => document.getElementById(id);

// make("td", { className: "number" }, "text", child…)
const make = (name, properties, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// Writes only what is new: a selection in the page, and a reader of it, are left alone.
const setText = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const say = (text) => { byId("said").textContent = text; };

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

const asCount = (n) => whole.format(n);

// What there is to say of a rate: 0.25, 3.4, 7, 812, 45,210.
const asNumber = (n) => {
  if (Number.isInteger(n)) return asCount(n);
  const size = Math.abs(n);
  return size < 1 ? n.toFixed(2) : size < 10 ? n.toFixed(1) : whole.format(n);
};

const asBytes = (n) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${unit === 0 ? asCount(n) : n < 10 ? n.toFixed(1) : asCount(n)} ${units[unit]}`;
};

const asLag = (ms) => (ms >= 1000 ? `${asNumber(ms / 1000)} s` : `${asNumber(ms)} ms`);

const asDuration = (s) => {
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
};

const asClock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
