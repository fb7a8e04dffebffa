// The view of the group: tiles with sparklines, the time line with its marks, partitions and workers.
import { measureSpan } from "./chart.js";
import { el, formatBytes, formatCount, formatMs, formatPercent, formatRate, formatSeconds, formatTime, isKnown } from "./dom.js";

const SPAN_S = 600;
const TILES = [
  { title: "Records per second", series: ["records_s"], show: formatRate },
  { title: "Tokens per second", series: ["tokens_s"], show: formatCount },
  { title: "Backlog in records", series: ["backlog"], show: formatCount },
  { title: "Time to drain", series: ["backlog_s"], show: formatSeconds },
  { title: "Latency p99", series: ["p99_ms", "p50_ms"], show: formatMs, second: "p50" },
  { title: "Batch fill", series: ["fill"], show: formatPercent, floor: 1 },
  { title: "Engine share", series: ["engine"], show: formatPercent, floor: 1 },
  { title: "Dead letters per second", series: ["dead_letters_s"], show: formatRate, isBad: true },
];

class LiveView extends HTMLElement {
  #series = { t: [] };
  #sample = null;

  connectedCallback() {
    this.tiles = TILES.map((tile) => this.#buildTile(tile));
    this.timeLine = el("series-chart", { class: "time-line" });
    this.axis = el("div", { class: "axis", "aria-hidden": "true" });
    this.peak = el("span", { class: "muted" });
    this.events = el("ol", { class: "events", "aria-label": "Events of the last ten minutes" });
    this.partitions = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of partitions" });
    this.workers = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of workers" });
    this.problem = el("div", { "aria-live": "polite" });
    this.append(
      el("h1", { class: "hidden" }, "Live"),
      this.problem,
      el("div", { class: "tiles" }, this.tiles.map((tile) => tile.element)),
      el("section", { class: "card" },
        el("header", {}, el("h2", {}, "Records per second"), this.peak),
        this.timeLine,
        this.axis,
        this.events),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Partitions")), this.partitions),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Workers")), this.workers));
    document.addEventListener("console:history", (event) => this.#replace(event.detail));
    document.addEventListener("console:live", (event) => this.#add(event.detail));
  }

  show() {
    this.#draw();
  }

  #buildTile({ title }) {
    const value = el("strong", {}, "–");
    const second = el("span", { class: "muted" });
    const chart = el("series-chart", { class: "spark" });
    return { value, second, chart, element: el("section", { class: "tile" }, el("h2", {}, title), el("p", {}, value, second), chart) };
  }

  #replace(series) {
    this.#series = series;
    this.#draw();
  }

  #add(sample) {
    this.#sample = sample;
    this.#series.t.push(sample.t);
    for (const [name, value] of Object.entries(sample.values)) (this.#series[name] ??= []).push(value);
    while (this.#series.t[0] < sample.t - SPAN_S) for (const values of Object.values(this.#series)) values.shift();
    this.#draw();
  }

  #draw() {
    if (this.hidden || !this.#sample) return;
    const { t: times } = this.#series;
    const now = this.#sample.t;
    TILES.forEach((tile, index) => this.#drawTile(tile, this.tiles[index], times, now));
    const rates = this.#series.records_s;
    const peak = Math.max(0, ...rates.filter(isKnown));
    this.peak.textContent = `peak ${formatRate(peak)}`;
    const marks = this.#sample.marks;
    this.timeLine.data = { times, lines: [rates], now, marks, describe: `Records per second, last ten minutes: now ${formatRate(rates.at(-1))}, peak ${formatRate(peak)}, ${marks.length} events` };
    this.#drawAxis(measureSpan(times, now));
    this.#drawEvents(marks);
    this.partitions.replaceChildren(this.#buildPartitions());
    this.workers.replaceChildren(this.#buildWorkers());
    const problem = this.#sample.broker_problem;
    this.problem.replaceChildren(...(problem ? [el("p", { class: "notice bad" }, problem)] : []));
  }

  #drawTile(tile, shown, times, now) {
    const lines = tile.series.map((name) => this.#series[name] ?? []);
    const [value, second] = lines.map((values) => values.at(-1));
    shown.value.textContent = tile.show(value);
    shown.second.textContent = tile.second ? `${tile.second} ${tile.show(second)}` : "";
    shown.element.classList.toggle("bad", Boolean(tile.isBad && value > 0));
    shown.chart.data = { times, lines, now, floor: tile.floor, describe: `${tile.title}, last ten minutes: now ${tile.show(value)}` };
  }

  #drawAxis(span) {
    const labels = [1, 0.8, 0.6, 0.4, 0.2].map((part) => `−${formatClock(span * part)}`);
    this.axis.replaceChildren(...[...labels, "now"].map((label) => el("span", {}, label)));
  }

  #drawEvents(marks) {
    const rows = marks.slice(-8).reverse().map((mark) =>
      el("li", {}, el("time", {}, formatTime(mark.t * 1000)), el("span", { class: `tag ${mark.kind}` }, mark.kind), el("span", {}, mark.text)));
    this.events.replaceChildren(...(rows.length ? rows : [el("li", { class: "muted" }, "No rebalance, rollout or failure in the last ten minutes.")]));
  }

  #buildPartitions() {
    const rows = this.#sample.partitions;
    if (!rows.length) return el("p", { class: "empty" }, "The brokers have not answered yet.");
    const most = Math.max(1, ...rows.map((row) => row.lag ?? 0));
    return buildTable(["Partition", "In /s", "Out /s", "", "Lag", "Drains in", "Committed", "Owner"], rows.map((row) => [
      `${row.topic}-${row.partition}`, formatRate(row.arriving_s), formatRate(row.done_s), buildMeter((row.lag ?? 0) / most, `lag of partition ${row.partition}`), formatCount(row.lag), formatSeconds(row.drain_s), formatCount(row.committed), row.owner ?? "–"]));
  }

  #buildWorkers() {
    const rows = this.#sample.workers;
    if (!rows.length) return el("p", { class: "empty" }, "No worker is named. Start the console with ", el("code", {}, "--worker http://HOST:8080"), " for tokens, latency, batches and models.");
    return buildTable(["Worker", "Partitions", "Records /s", "Tokens /s", "p99", "Fill", "Engine", "Queue", "Memory", "Device", "Model"], rows.map((row) => row.problem
      ? [row.address, el("span", { class: "bad-text" }, row.problem)]
      : [row.address, row.num_partitions, formatRate(row.records_s), formatCount(row.tokens_s), formatMs(row.p99_ms), formatPercent(row.fill),
        formatPercent(row.engine), formatCount(row.queue), formatBytes(row.memory_bytes), row.device ?? "–", row.models.join(", ") || "–"]));
  }
}

/** Return minutes and seconds. */
function formatClock(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Return a table; a row with fewer cells than columns extends its last cell. */
function buildTable(names, rows) {
  return el("table", {},
    el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name || el("span", { class: "hidden" }, "Share"))))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, index) =>
      el(index ? "td" : "th", { scope: index ? null : "row", colspan: index === cells.length - 1 && cells.length < names.length ? names.length - index : null },
        cell instanceof Node ? cell : String(cell)))))));
}

function buildMeter(share, label) {
  return el("meter", { min: 0, max: 1, value: share, "aria-label": label });
}

customElements.define("live-view", LiveView);
