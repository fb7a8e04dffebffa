// The view of the search: the published records nearest to a query or to a record.
import { el, formatCount, notice, request } from "./dom.js";
import { buildFound } from "./results.js";
import { buildEndpointHint } from "./try.js";

class SearchView extends HTMLElement {
  connectedCallback() {
    this.text = el("input", { type: "search", "aria-label": "Query", placeholder: "Find published records by meaning", maxlength: 20000 });
    this.button = el("button", { type: "submit" }, "Search");
    this.hint = el("div", { class: "stack" });
    this.answer = el("div", { class: "stack", "aria-live": "polite" });
    this.append(
      el("h1", { class: "hidden" }, "Search"),
      this.hint,
      el("form", { class: "filters", role: "search", "aria-label": "Search by meaning", onsubmit: (event) => { event.preventDefault(); this.#run({ text: this.text.value }, `Nearest to “${this.text.value}”`); } }, this.text, this.button),
      this.answer);
  }

  describe(description) {
    this.button.disabled = this.text.disabled = !description.can_infer;
    this.hint.replaceChildren(...(description.can_infer ? [] : [buildEndpointHint(), el("p", { class: "muted" }, "Without the endpoint, open a record in Flow and choose “Find similar records”.")]));
  }

  /** Show the records nearest to a record. */
  findSimilar(record) {
    location.hash = "#search";
    const { topic, partition, offset } = record;
    this.#run({ record: { topic, partition, offset } }, `Nearest to ${topic}-${partition}@${offset}: ${record.text ?? ""}`);
  }

  async #run(body, title) {
    if ("text" in body && !body.text.trim()) return;
    this.searched = body;
    try {
      const { found, num_vectors: count } = await request("/api/search", body);
      // Meanwhile another search may have begun.
      if (this.searched !== body) return;
      this.answer.replaceChildren(el("section", { class: "card flush" },
        el("header", {}, el("h2", { class: "query" }, title), el("span", { class: "muted" }, `${formatCount(count)} vectors`)), buildFound(found, "Found records")));
    } catch (error) {
      if (this.searched === body) this.answer.replaceChildren(notice("bad", error.message));
    }
  }
}

customElements.define("search-view", SearchView);
