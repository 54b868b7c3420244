// SPDX-License-Identifier: MIT
// Tables whose rows live: each belongs to a key, and is changed in its place, so that neither focus nor selection is lost.

const HELD_MS = 10000;

class LiveTable {
  // `columns`: [{ title, sort, number, fixed, wide (shown on wide screens only), rest (takes the room that is left), value(row) }], and with `acts(row)` a last one of buttons: [{ label, hint, danger,
  // act(row) }]. `onSort(sort)`: another column's button was pressed.
  constructor(table, { caption, columns, keyOf, acts, sort, onSort }) {
    Object.assign(this, { table, columns, keyOf, acts, sort, onSort, rows: new Map(), used: 0 });
    const head = make("tr", { role: "row" }, ...columns.map((column) => this.headCell(column)));
    if (acts) head.append(make("th", { scope: "col", role: "columnheader", className: "acts" }, make("span", { className: "unseen" }, "Actions")));
    // Roles are said, since a narrow screen lays tables out as something else.
    table.role = "table";
    this.body = make("tbody", { role: "rowgroup" });
    table.append(make("caption", {}, caption), make("thead", { role: "rowgroup" }, head), this.body);
    for (const type of ["pointermove", "keydown", "focusin"]) {
      this.body.addEventListener(type, () => { this.used = Date.now(); });
    }
    this.showSort();
  }

  className(column) {
    return ["number", "wide", "fixed", "rest"].filter((name) => column[name]).join(" ") + (column.number ? "" : " text");
  }

  headCell(column) {
    const cell = make("th", { scope: "col", role: "columnheader", className: this.className(column) });
    if (!column.sort) cell.append(column.title);
    else {
      cell.append(make("button", { type: "button", onclick: () => {
        this.sort = column.sort;
        this.showSort();
        this.onSort(column.sort);
      } }, column.title));
      column.cell = cell;
    }
    return cell;
  }

  showSort() {
    for (const column of this.columns) {
      if (!column.cell) continue;
      if (column.sort === this.sort) column.cell.setAttribute("aria-sort", column.ascending ? "ascending" : "descending");
      else column.cell.removeAttribute("aria-sort");
    }
  }

  newRow(key) {
    const entry = { element: make("tr", { role: "row" }), cells: [], data: null };
    this.columns.forEach((column, index) => {
      const cell = index === 0 ? make("th", { scope: "row", role: "rowheader" }) : make("td", { role: "cell" });
      cell.className = this.className(column);
      cell.dataset.title = column.title;
      entry.cells.push(cell);
    });
    entry.element.append(...entry.cells);
    if (this.acts) {
      const cell = make("td", { className: "acts", role: "cell" });
      for (const { label, hint, danger, act } of this.acts) {
        const button = make("button", { type: "button", className: danger ? "danger" : "", onclick: () => act(entry.data, entry.element) }, label);
        button.setAttribute("aria-label", `${hint} ${key}`);
        cell.append(button, " ");
      }
      entry.element.append(cell);
    }
    return entry;
  }

  // Who is about to press a button shall not find another row under the pointer: then rows stay where they are, and new ones come last. A pointer
  // that was left there is nobody.
  isHeld() { return Date.now() - this.used < HELD_MS && this.body.matches(":hover, :focus-within"); }

  show(list) {
    const held = this.isHeld(), seen = new Set();
    let before = null;
    for (const data of list) {
      const key = this.keyOf(data);
      seen.add(key);
      let entry = this.rows.get(key);
      const isNew = !entry;
      if (isNew) {
        entry = this.newRow(key);
        this.rows.set(key, entry);
      }
      entry.data = data;
      entry.element.classList.remove("gone");
      this.columns.forEach((column, index) => {
        const text = column.value(data), cell = entry.cells[index];
        setText(cell, text);
        if (!column.number && cell.title !== text) cell.title = text;
      });
      if (isNew && held) this.body.append(entry.element);
      else if (!held && (before ? before.nextSibling : this.body.firstChild) !== entry.element) {
        if (before) before.after(entry.element);
        else this.body.prepend(entry.element);
      }
      before = entry.element;
    }
    for (const [key, entry] of this.rows) {
      if (seen.has(key)) continue;
      if (held) entry.element.classList.add("gone");
      else {
        entry.element.remove();
        this.rows.delete(key);
      }
    }
  }
}
