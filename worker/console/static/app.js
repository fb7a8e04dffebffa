// Starts the page: names, events, views and theme.
import { el, request } from "./dom.js";
import "./live.js";
import "./flow.js";
import "./details.js";
import "./letters.js";
import "./try.js";
import "./search.js";

const VIEWS = ["live", "flow", "letters", "try", "search"];
const THEMES = ["system", "light", "dark"];
const TITLES = { live: "Live", flow: "Flow", letters: "Dead letters", try: "Try it", search: "Search" };

function showView() {
  const [name] = location.hash.slice(1).split("/");
  if (name === "main") return;
  const shown = VIEWS.includes(name) ? name : "live";
  for (const view of VIEWS) {
    document.getElementById(`view-${view}`).hidden = view !== shown;
    document.querySelector(`nav a[href="#${view}"]`).toggleAttribute("aria-current", view === shown);
  }
  document.querySelector(`nav a[href="#${shown}"]`).setAttribute("aria-current", "page");
  document.title = `${TITLES[shown]} · GIST Stream`;
  document.getElementById(`view-${shown}`).show?.();
}

function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = `Theme: ${theme}`;
}

function chooseTheme() {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  localStorage.setItem("theme", next);
  applyTheme(next);
}

function setConnection(state) {
  const pill = document.getElementById("connection");
  pill.textContent = state;
  pill.dataset.state = state;
}

function followEvents() {
  const source = new EventSource("/api/events");
  source.addEventListener("open", () => setConnection("live"));
  source.addEventListener("error", () => {
    setConnection("reconnecting");
    // A browser gives up after an answer with an error.
    if (source.readyState === EventSource.CLOSED) setTimeout(followEvents, 3000);
  });
  for (const name of ["history", "live", "records"]) {
    source.addEventListener(name, (event) => {
      document.dispatchEvent(new CustomEvent(`console:${name}`, { detail: JSON.parse(event.data) }));
    });
  }
}

async function describeConsole() {
  try {
    const description = await request("/api/console");
    document.getElementById("context").replaceChildren(
      el("b", {}, description.input_topics.join(", ")), el("span", { class: "muted" }, ` group ${description.group_id}`));
    for (const view of VIEWS) document.getElementById(`view-${view}`).describe?.(description);
  } catch {
    setTimeout(describeConsole, 3000);
  }
}

applyTheme(THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "system");
document.getElementById("theme").addEventListener("click", chooseTheme);
addEventListener("hashchange", showView);
showView();
describeConsole().then(followEvents);
