// A dialog with everything about a record: text, results, latency by output, headers and values.
import { el, formatMs, formatTime, isKnown, notice, request } from "./dom.js";
import { highlight, listLabels } from "./results.js";

class RecordDetails extends HTMLElement {
  connectedCallback() {
    this.content = el("div", { class: "details" });
    this.dialog = el("dialog", { class: "side", "aria-label": "Record" }, this.content);
    // A click on the backdrop has the dialog itself as its target.
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.append(this.dialog);
    document.addEventListener("console:open", (event) => this.#open(event.detail));
  }

  async #open(row) {
    this.opened = row;
    this.content.replaceChildren(this.#buildTitle(row));
    if (!this.dialog.open) this.dialog.showModal();
    try {
      const path = [row.topic, row.partition, row.offset].map(encodeURIComponent).join("/");
      const record = await request(`/api/records/${path}`);
      // Meanwhile another record may be open.
      if (this.opened === row) this.#show(record);
    } catch (error) {
      if (this.opened === row) this.content.append(notice("bad", error.message));
    }
  }

  #buildTitle(row) {
    return el("header", {},
      el("h2", {}, `${row.topic}-${row.partition}@${row.offset}`),
      el("button", { class: "quiet", type: "button", onclick: () => this.dialog.close() }, "Close"));
  }

  #show(record) {
    const similar = record.is_searchable && el("button", { type: "button", onclick: () => this.#search(record) }, "Find similar records");
    this.content.replaceChildren(
      this.#buildTitle(record),
      record.dead_letter ? notice("bad", `Dead letter, ${record.dead_letter.stage}: ${record.dead_letter.message}`) : "",
      isKnown(record.text) ? el("p", { class: "whole" }, highlight(record.text, record.entities)) : record.dead_letter ? "" : el("p", { class: "muted" }, record.is_tombstone ? "A tombstone has no text." : record.problem ?? "The text is not in memory."),
      el("p", { class: "labels" }, listLabels(record)),
      buildFacts([["id", record.id], ["key", record.source?.key], ["model", record.model], ["record time", formatTime(record.timestamp_ms)], ["published after", isKnown(record.latency_ms) ? formatMs(record.latency_ms) : null], ["chunks", record.num_chunks || null]]),
      similar || "",
      ...record.results.map(buildOutput),
      record.source ? buildSource(record.source, Boolean(record.dead_letter)) : "");
  }

  #search(record) {
    this.dialog.close();
    document.getElementById("view-search").findSimilar(record);
  }
}

function buildFacts(facts) {
  return el("dl", {}, facts.filter(([, value]) => isKnown(value)).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
}

function buildOutput(output) {
  const after = isKnown(output.after_ms) ? ` after ${formatMs(output.after_ms)}` : "";
  return el("details", { open: output.output === "labels" },
    el("summary", {}, el("b", {}, output.output), el("span", { class: "muted" }, ` ${output.topic}-${output.partition}@${output.offset}${after}`)),
    el("pre", { tabindex: "0" }, JSON.stringify(output.value, null, 2)),
    buildFacts(output.headers));
}

function buildSource(source, isOpen) {
  return el("details", { open: isOpen }, el("summary", {}, el("b", {}, "input record")), el("pre", { tabindex: "0" }, source.value ?? "null"), buildFacts(source.headers));
}

customElements.define("record-details", RecordDetails);
