// The view of the newest results: pause, filters, and rows that open the details of a record.
import { el } from "./dom.js";
import { buildRow, keyOf, openDetails } from "./results.js";

const MAX_KEPT = 1000;
const MAX_SHOWN = 100;

class FlowView extends HTMLElement {
  // Rows by key, the newest last.
  #rows = new Map();
  // The list items of the shown rows, by key.
  #items = new Map();
  #known = { label: new Set(), type: new Set(), partition: new Set() };
  #isPaused = false;
  #numWaiting = 0;
  #numSkipped = 0;
  #isDue = false;
  #isHeld = false;

  connectedCallback() {
    this.text = el("input", { type: "search", placeholder: "Text or id", "aria-label": "Filter by text or id", oninput: () => this.#draw() });
    this.selects = { label: this.#buildSelect("label", "All labels"), type: this.#buildSelect("type", "All types"), partition: this.#buildSelect("partition", "All partitions") };
    this.dead = el("input", { type: "checkbox", id: "only-dead", onchange: () => this.#draw() });
    this.pause = el("button", { type: "button", "aria-pressed": "false", onclick: () => this.#togglePause() }, "Pause");
    this.status = el("p", { class: "muted status", role: "status" });
    // While a row is pressed, the list does not move: else the release would be on another row. A context menu takes the release of
    // another button.
    this.list = el("ol", { class: "rows", "aria-label": "Newest results", onpointerdown: ({ button }) => { this.#isHeld = button === 0; } });
    for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => this.#release());
    this.append(
      el("h1", { class: "hidden" }, "Flow"),
      el("form", { class: "filters", role: "search", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
        this.pause, this.text, Object.values(this.selects), el("label", { class: "check" }, this.dead, "Dead letters only"), this.status),
      el("section", { class: "card flush" }, this.list));
    document.addEventListener("console:records", (event) => this.#add(event.detail));
    this.#draw();
  }

  show() {
    this.#draw();
  }

  #buildSelect(name, all) {
    return el("select", { "aria-label": `Filter: ${all.toLowerCase()}`, onchange: () => this.#draw() }, el("option", { value: "" }, all));
  }

  #togglePause() {
    this.#isPaused = !this.#isPaused;
    this.pause.setAttribute("aria-pressed", String(this.#isPaused));
    this.pause.textContent = this.#isPaused ? "Resume" : "Pause";
    this.#numWaiting = 0;
    this.#draw();
  }

  #add({ rows, num_more: numMore }) {
    this.#numSkipped += numMore;
    for (const row of rows) {
      const key = keyOf(row);
      // A changed row keeps its place in the list.
      this.#rows.set(key, row);
      this.#items.delete(key);
      this.#learn(row);
    }
    this.#numWaiting += rows.length;
    while (this.#rows.size > MAX_KEPT) this.#rows.delete(this.#rows.keys().next().value);
    if (this.#isPaused) this.#showStatus();
    else this.#drawSoon();
  }

  #release() {
    if (this.#isHeld) this.#drawSoon();
    this.#isHeld = false;
  }

  #learn(row) {
    for (const label of Object.values(row.labels ?? {})) this.#addOption("label", label.label);
    for (const entity of row.entities ?? []) this.#addOption("type", entity.type);
    this.#addOption("partition", String(row.partition));
  }

  #addOption(name, value) {
    if (this.#known[name].has(value) || this.#known[name].size >= 200) return;
    this.#known[name].add(value);
    const text = name === "partition" ? `Partition ${value}` : value;
    const options = [...this.selects[name].options].slice(1);
    const next = options.find((option) => option.value.localeCompare(value, "en", { numeric: true }) > 0);
    this.selects[name].insertBefore(el("option", { value }, text), next ?? null);
  }

  #drawSoon() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      if (!this.#isPaused && !this.#isHeld) this.#draw();
    });
  }

  #matches(row) {
    const text = this.text.value.trim().toLowerCase();
    const { label, type, partition } = this.selects;
    return (
      (!text || `${row.text ?? ""} ${row.id ?? ""}`.toLowerCase().includes(text)) &&
      (!label.value || Object.values(row.labels ?? {}).some((own) => own.label === label.value)) &&
      (!type.value || (row.entities ?? []).some((entity) => entity.type === type.value)) &&
      (!partition.value || String(row.partition) === partition.value) &&
      (!this.dead.checked || Boolean(row.dead_letter))
    );
  }

  #draw() {
    if (this.hidden) return;
    const shown = new Map();
    for (const [key, row] of [...this.#rows].reverse()) {
      if (shown.size === MAX_SHOWN) break;
      if (this.#matches(row)) shown.set(key, this.#items.get(key) ?? buildItem(key, row));
    }
    const focused = document.activeElement?.dataset?.key;
    this.#items = shown;
    const items = shown.size ? [...shown.values()] : [el("li", { class: "empty" }, this.#rows.size ? "No record matches the filters." : "No result has arrived yet.")];
    // Rows that stay are not moved: a row that is moved loses its focus and a pressed key.
    for (const item of [...this.list.children]) if (!items.includes(item)) item.remove();
    items.forEach((item, index) => this.list.children[index] === item || this.list.insertBefore(item, this.list.children[index] ?? null));
    if (focused && shown.has(focused)) shown.get(focused).firstChild.focus({ preventScroll: true });
    this.#showStatus();
  }

  #showStatus() {
    const parts = [`${this.#rows.size} records here`];
    if (this.#isPaused) parts.push(`paused, ${this.#numWaiting} updates wait`);
    if (this.#numSkipped) parts.push(`${this.#numSkipped} not shown, the stream is faster than the page`);
    this.status.textContent = parts.join(" · ");
  }
}

function buildItem(key, row) {
  const button = el("button", { class: "row", type: "button", "data-key": key, onclick: () => openDetails(row) }, buildRow(row));
  return el("li", { class: row.outputs.length ? null : "pending" }, button);
}

customElements.define("flow-view", FlowView);
