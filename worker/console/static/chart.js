// A chart of one or two series over at most the last ten minutes, with marks.
import { svg } from "./dom.js";

const MIN_SPAN_S = 60;
const MAX_SPAN_S = 600;

/** Return the seconds that a chart shows: since the first value, within bounds. */
export function measureSpan(times, now) {
  return Math.min(MAX_SPAN_S, Math.max(MIN_SPAN_S, now - (times[0] ?? now)));
}

/** Return the path of a series; a value that is not known leaves a gap. */
function drawLine(times, values, place) {
  let path = "";
  let isOpen = false;
  values.forEach((value, index) => {
    if (value === null) {
      isOpen = false;
      return;
    }
    const [x, y] = place(times[index], value);
    path += `${isOpen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    isOpen = true;
  });
  return path;
}

/** Return the paths of the areas under a series, one for each part without a gap. */
function drawArea(times, values, place, bottom) {
  const parts = [];
  let part = [];
  values.forEach((value, index) => {
    if (value !== null) part.push(place(times[index], value));
    if ((value === null || index === values.length - 1) && part.length) {
      parts.push(part);
      part = [];
    }
  });
  return parts
    .map((points) => `M${points[0][0].toFixed(1)} ${bottom}` + points.map(([x, y]) => `L${x.toFixed(1)} ${y.toFixed(1)}`).join("") + `L${points.at(-1)[0].toFixed(1)} ${bottom}Z`)
    .join("");
}

class SeriesChart extends HTMLElement {
  #data = null;

  connectedCallback() {
    this.setAttribute("role", "img");
    new ResizeObserver(() => this.#draw()).observe(this);
  }

  /** Show series of equal length; `lines[0]` has an area. `describe` is the accessible name. */
  set data(data) {
    this.#data = data;
    this.setAttribute("aria-label", data.describe);
    this.#draw();
  }

  #draw() {
    const width = this.clientWidth;
    const height = this.clientHeight;
    if (!this.#data || !width || !height) return;
    const { times, lines, now, marks = [], floor = 0 } = this.#data;
    const known = lines.flat().filter((value) => value !== null);
    const top = Math.max(floor, ...known) || 1;
    const span = measureSpan(times, now);
    const place = (time, value) => [width * (1 - (now - time) / span), height - 1 - (height - 6) * (value / top)];
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    drawing.append(svg("line", { class: "base", x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5 }));
    for (const mark of marks.filter(({ t }) => t >= now - span)) {
      const [x] = place(mark.t, 0);
      drawing.append(svg("g", { class: `mark ${mark.kind}` }, svg("title", {}, mark.text), svg("line", { x1: x, x2: x, y1: 8, y2: height }), svg("circle", { cx: x, cy: 5, r: 3.5 })));
    }
    lines.forEach((values, index) => {
      if (index === 0) drawing.append(svg("path", { class: "area", d: drawArea(times, values, place, height) }));
      drawing.append(svg("path", { class: `line line-${index}`, d: drawLine(times, values, place) }));
    });
    this.replaceChildren(drawing);
  }
}

customElements.define("series-chart", SeriesChart);
