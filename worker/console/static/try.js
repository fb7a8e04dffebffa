// The view of a typed text: labels, entities, tokens, vector and similar records.
import { el, formatMs, notice, request, svg } from "./dom.js";
import { buildFound, highlight } from "./results.js";

const EXAMPLES = [
  "Great: Anna Schmidt of Siemens fixed our printer in Berlin!",
  "The parcel came two days late and the support never answered.",
  "Ada Lovelace and Charles Babbage met in London in 1833.",
];

class TryView extends HTMLElement {
  connectedCallback() {
    this.text = el("textarea", { id: "try-text", rows: 3, maxlength: 20000, "aria-label": "Text", placeholder: "Type a text" });
    this.button = el("button", { type: "submit" }, "Run");
    this.hint = el("div", { class: "stack" });
    this.answer = el("div", { class: "stack", "aria-live": "polite" });
    this.append(
      el("h1", { class: "hidden" }, "Try it"),
      this.hint,
      el("form", { class: "card ask", onsubmit: (event) => { event.preventDefault(); this.#run(); } },
        this.text,
        el("div", { class: "actions" }, this.button, EXAMPLES.map((example, index) =>
          el("button", { type: "button", class: "quiet", onclick: () => { this.text.value = example; this.#run(); } }, `Example ${index + 1}`)))),
      this.answer);
    this.text.addEventListener("keydown", (event) => (event.ctrlKey || event.metaKey) && event.key === "Enter" && this.#run());
  }

  describe(description) {
    this.hint.replaceChildren(...(description.can_infer ? [] : [buildEndpointHint()]));
    this.button.disabled = !description.can_infer;
    for (const example of this.querySelectorAll(".actions .quiet")) example.disabled = !description.can_infer;
  }

  async #run() {
    if (!this.text.value.trim() || this.button.disabled) return;
    const text = this.text.value;
    this.button.disabled = true;
    try {
      const { answers } = await request("/api/infer", { text });
      this.answer.replaceChildren(...answers.map((answer) => el("div", { class: "stack" }, buildAnswer(text, answer))));
      this.answer.classList.toggle("pair", answers.length > 1);
    } catch (error) {
      this.answer.replaceChildren(notice("bad", error.message));
    } finally {
      this.button.disabled = false;
    }
  }
}

/** Return how to switch the endpoint on. */
export function buildEndpointHint() {
  return notice("hint", "Typed texts need a worker's HTTP endpoint. Start the worker with ", el("code", {}, "GIST_API=true"),
    " and the console with ", el("code", {}, "--api http://HOST:PORT"), ".");
}

function buildAnswer(text, answer) {
  return [
    el("section", { class: "card" },
      el("header", {}, el("h2", {}, "Entities"), el("span", { class: "muted" }, `${answer.model} · ${answer.num_tokens} tokens · ${formatMs(answer.took_ms)}`)),
      el("p", { class: "whole" }, highlight(text, answer.entities))),
    answer.labels ? el("section", { class: "card" }, el("header", {}, el("h2", {}, "Labels")), Object.entries(answer.labels).map(buildScores)) : "",
    answer.tokens ? el("section", { class: "card" }, el("header", {}, el("h2", {}, "Tokens"), el("span", { class: "muted" }, String(answer.tokens.length))),
      el("p", { class: "tokens" }, answer.tokens.map((token) => el("span", {}, token)))) : "",
    answer.vector ? el("section", { class: "card" }, el("header", {}, el("h2", {}, "Vector"), el("span", { class: "muted" }, `${answer.vector.length} dimensions`)), buildVector(answer.vector)) : "",
    answer.vector ? el("section", { class: "card flush" }, el("header", {}, el("h2", {}, "Most similar published records")), buildFound(answer.similar, "Similar records")) : "",
  ];
}

function buildScores([head, label]) {
  const scores = Object.entries(label.scores ?? { [label.label]: label.score }).sort((one, other) => other[1] - one[1]);
  return el("div", { class: "scores" }, el("h3", {}, head), scores.slice(0, 12).map(([name, score]) =>
    el("p", {}, el("span", {}, name), el("meter", { min: 0, max: 1, value: score, "aria-label": `${head}: ${name}` }), el("span", {}, score.toFixed(3)))));
}

function buildVector(vector) {
  const most = Math.max(...vector.map(Math.abs)) || 1;
  const drawing = svg("svg", { class: "vector", viewBox: `0 0 ${vector.length} 40`, preserveAspectRatio: "none", role: "img", "aria-label": `The ${vector.length} numbers of the vector` });
  vector.forEach((number, index) => {
    const height = 20 * (Math.abs(number) / most);
    drawing.append(svg("rect", { x: index, width: 0.8, y: number > 0 ? 20 - height : 20, height, class: number > 0 ? "up" : "down" }));
  });
  return drawing;
}

customElements.define("try-view", TryView);
