// Results of a record: text with entities, labels, and rows of lists.
import { el, formatMs, formatTime, isKnown } from "./dom.js";

const KNOWN_TYPES = ["PER", "ORG", "LOC", "MISC"];
const MAX_LABELS = 8;

/** Return a text with its entities highlighted. Offsets count code points. Overlapping entities of a second head are left out. */
export function highlight(text, entities, isCut = false) {
  const points = Array.from(text);
  const shown = el("span", { class: "text" });
  let end = 0;
  for (const entity of entities ?? []) {
    if (entity.start < end || entity.end > points.length) continue;
    shown.append(points.slice(end, entity.start).join(""), mark(points.slice(entity.start, entity.end).join(""), entity));
    end = entity.end;
  }
  shown.append(points.slice(end).join(""), isCut ? "…" : "");
  return shown;
}

function mark(text, entity) {
  const kind = KNOWN_TYPES.includes(entity.type) ? entity.type : "OTHER";
  const title = isKnown(entity.score) ? `${entity.type} ${entity.score.toFixed(3)}` : entity.type;
  return el("mark", { class: `entity ${kind}`, title }, text, el("small", {}, entity.type));
}

/** Return the labels of all heads, with their scores. */
export function listLabels(row) {
  const labels = Object.entries(row.labels ?? {}).map(([head, label]) =>
    el("span", { class: `label ${label.label}`, title: head }, label.labels?.join(", ") || label.label, " ", el("small", {}, label.score.toFixed(2))));
  const values = Object.values(row.values ?? {}).flatMap((own) =>
    Object.entries(own).map(([name, number]) => el("span", { class: "label" }, name, " ", el("small", {}, number.toFixed(2)))));
  return [...labels, ...values];
}

/** Return what a list shows of a record. */
export function buildRow(row, { cosine, count } = {}) {
  const isDead = Boolean(row.dead_letter);
  const labels = listLabels(row);
  const numMore = labels.length - MAX_LABELS;
  const body = isKnown(row.text)
    ? [highlight(row.text, row.entities, row.is_cut)]
    : [el("span", { class: "muted raw" }, row.is_tombstone ? "tombstone" : row.raw ?? row.problem ?? "the text is not in memory"),
       ...(row.entities ?? []).map((entity) => mark(entity.text, entity))];
  return [
    el("span", { class: "meta" },
      isKnown(cosine) ? el("b", { class: "cosine" }, cosine.toFixed(3)) : el("time", {}, formatTime(row.published_ms ?? row.timestamp_ms)),
      el("span", { class: "place" }, `${row.partition}@${row.offset}`)),
    el("span", { class: "body" }, ...body,
      isDead ? el("span", { class: "reason" }, `${row.dead_letter.stage}: ${row.dead_letter.message}`) : null),
    el("span", { class: "facts" }, count > 1 ? el("span", { class: "muted" }, `× ${count}`) : null, labels.slice(0, MAX_LABELS), numMore > 0 ? el("span", { class: "muted" }, `+ ${numMore}`) : null, isDead ? el("span", { class: "label dead" }, "dead letter") : null,
      el("span", { class: "latency" }, row.latency_ms === null ? "" : formatMs(row.latency_ms))),
  ];
}

export const keyOf = (row) => `${row.topic}/${row.partition}/${row.offset}`;

/** Ask the page to open the details of a record. */
export function openDetails(row) {
  document.dispatchEvent(new CustomEvent("console:open", { detail: row }));
}

/** Return a list of found records with their cosines. */
export function buildFound(found, label) {
  if (!found.length) return el("p", { class: "empty" }, "No record with a vector of this model is in memory yet.");
  return el("ol", { class: "rows", "aria-label": label }, found.map(({ record, cosine, num_equal: count }) =>
    el("li", {}, el("button", { class: "row", type: "button", onclick: () => openDetails(record) }, buildRow(record, { cosine, count })))));
}
