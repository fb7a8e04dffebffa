// Elements and numbers. A text from a record becomes a text node and never markup.

/** Return a new element. Properties whose names start with `on` are listeners; the others are attributes. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a new element of an SVG. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const NONE = "–";
const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const oneDigit = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const isKnown = (value) => value !== null && value !== undefined && !Number.isNaN(value);

export function formatCount(value) {
  if (!isKnown(value)) return NONE;
  return Math.abs(value) >= 100_000 ? compact.format(value) : plain.format(value);
}

export function formatRate(value) {
  if (!isKnown(value)) return NONE;
  return Math.abs(value) < 10 ? oneDigit.format(value) : formatCount(value);
}

export function formatMs(value) {
  if (!isKnown(value)) return NONE;
  if (value < 10) return `${oneDigit.format(value)} ms`;
  return value < 1000 ? `${plain.format(value)} ms` : formatSeconds(value / 1000);
}

export function formatSeconds(value) {
  if (!isKnown(value)) return NONE;
  if (value >= 86_400) return "over a day";
  if (value >= 5400) return `${oneDigit.format(value / 3600)} h`;
  if (value >= 90) return `${oneDigit.format(value / 60)} min`;
  return value > 0 && value < 0.1 ? "under 0.1 s" : `${oneDigit.format(value)} s`;
}

export const formatPercent = (value) => (isKnown(value) ? `${plain.format(value * 100)} %` : NONE);
export const formatBytes = (value) => (isKnown(value) ? `${compact.format(value / 1024 / 1024)} MiB` : NONE);

/** Return the time of a moment of today, and date and time of another one. */
export function formatTime(milliseconds) {
  if (!isKnown(milliseconds) || milliseconds < 0) return NONE;
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return NONE;
  const time = date.toLocaleTimeString("en-GB");
  return date.toDateString() === new Date().toDateString() ? time : `${date.toLocaleDateString("en-CA")} ${time.slice(0, 5)}`;
}

/** Request JSON of the console. Rejects with an error whose message is one line for the reader. */
export async function request(path, body, headers = {}) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The console does not answer.");
  }
  const value = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  if (!answer.ok) throw new Error(value.error);
  return value;
}

/** Return a message for a failure or a hint. */
export function notice(kind, ...children) {
  return el("p", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : null }, ...children);
}
