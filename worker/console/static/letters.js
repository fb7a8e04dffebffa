// The view of dead letters: groups by stage and reason, with advice and replay.
import { el, formatCount, formatTime, notice, request } from "./dom.js";

const MAX_SHOWN = 5;

class LettersView extends HTMLElement {
  #canReplay = false;

  connectedCallback() {
    this.summary = el("p", { class: "muted status", role: "status" });
    this.groups = el("div", { class: "groups" });
    this.message = el("div", { "aria-live": "polite" });
    this.dialog = el("dialog", { "aria-label": "Replay dead letters" });
    this.append(
      el("h1", { class: "hidden" }, "Dead letters"),
      el("div", { class: "filters" }, el("button", { type: "button", class: "quiet", onclick: () => this.#load() }, "Refresh"), this.summary),
      this.message, this.groups, this.dialog);
  }

  describe(description) {
    this.#canReplay = description.can_replay;
  }

  show() {
    this.#load();
  }

  async #load() {
    this.summary.textContent = "reading the dead-letter topic …";
    try {
      const { groups, num_letters: count, is_complete: isComplete } = await request("/api/dead-letters");
      this.summary.textContent = `${formatCount(count)} open${isComplete ? "" : ", the oldest are shown"}`;
      this.groups.replaceChildren(...(groups.length ? groups.map((group) => this.#buildGroup(group)) : [el("p", { class: "card empty" }, "No dead letter is open.")]));
    } catch (error) {
      this.summary.textContent = "";
      this.groups.replaceChildren(notice("bad", error.message));
    }
  }

  #buildGroup(group) {
    const replayable = group.letters.filter((letter) => letter.obstacle === null);
    const command = `gist-stream dlq replay --stage ${group.stage} --error ${group.error} --execute`;
    return el("section", { class: "card group" },
      el("header", {},
        el("span", { class: "tag failure" }, group.stage), el("h2", {}, group.reason), el("span", { class: "count" }, formatCount(group.letters.length))),
      el("p", { class: "advice" }, el("b", {}, "What to do. "), group.advice),
      el("p", { class: "actions" }, this.#canReplay && replayable.length
        ? el("button", { type: "button", class: "quiet", onclick: () => this.#confirm(group, replayable) }, `Replay ${formatCount(replayable.length)} …`)
        : el("span", { class: "muted" }, replayable.length ? el("code", {}, command) : "No record of this group can be replayed.")),
      el("ul", { class: "letters" }, group.letters.slice(0, MAX_SHOWN).map(buildLetter)),
      group.letters.length > MAX_SHOWN ? el("p", { class: "muted more" }, `and ${formatCount(group.letters.length - MAX_SHOWN)} more`) : null);
  }

  #confirm(group, letters) {
    const token = el("input", { type: "password", id: "token", autocomplete: "off", required: true });
    const failure = el("div", {});
    this.dialog.replaceChildren(el("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); this.#replay(letters, token.value, failure); } },
      el("h2", {}, `Replay ${formatCount(letters.length)} dead letter${letters.length === 1 ? "" : "s"}`),
      el("p", {}, `The records are sent again to their input topics. Stage: ${group.stage}. Reason: ${group.reason}`),
      el("label", { for: "token" }, "Token, which the console printed at its start"), token, failure,
      el("p", { class: "actions" },
        el("button", { type: "button", class: "quiet", onclick: () => this.dialog.close() }, "Cancel"), el("button", { type: "submit" }, "Replay"))));
    this.dialog.showModal();
    token.focus();
  }

  async #replay(letters, token, failure) {
    failure.replaceChildren(el("p", { class: "muted" }, "sending …"));
    try {
      const { message } = await request("/api/dead-letters/replay", { names: letters.map((letter) => letter.letter) }, { Authorization: `Bearer ${token}` });
      this.dialog.close();
      this.message.replaceChildren(notice("good", message));
      this.#load();
    } catch (error) {
      failure.replaceChildren(notice("bad", error.message));
    }
  }
}

function buildLetter(letter) {
  return el("li", {}, el("details", {},
    el("summary", {}, el("code", {}, letter.letter), el("span", { class: "muted" }, ` ${formatTime(letter.timestamp_ms)} · ${letter.source} · `), el("span", {}, letter.id)),
    el("p", { class: "reason" }, letter.message),
    letter.obstacle ? el("p", { class: "muted" }, `A replay is not possible: ${letter.obstacle}.`) : null,
    el("pre", { tabindex: "0" }, letter.payload ?? "null"),
    el("dl", {}, [["key", letter.key], ["attempts", letter.attempts], ...letter.headers].flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]))));
}

customElements.define("letters-view", LettersView);
