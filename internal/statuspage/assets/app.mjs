// The page: header, what is wrong, and the view that the address names. It only
// reads.
import { show, h } from "./dom.mjs";
import { about, clockText, count, time, when, zone } from "./format.mjs";
import { attention, verifications } from "./attention.mjs";
import { databases } from "./databases.mjs";
import { backups, detail, history, jobTable } from "./jobs.mjs";
import { running } from "./running.mjs";
import { Samples } from "./samples.mjs";
import { Source } from "./source.mjs";
import { item, mark } from "./widgets.mjs";

const REST = 150; // milliseconds between two updates

const top = document.getElementById("top");
const main = document.getElementById("main");
const bottom = document.getElementById("bottom");
const said = document.getElementById("said");

const chosen = { days: 14 };
const samples = new Samples();
const source = new Source(update, (text) => (said.textContent = text));
source.onRecord = (record) => samples.take(record, Date.now());

let waiting = null;

function update() {
  waiting ??= setTimeout(() => {
    waiting = null;
    render();
  }, REST);
}

function choose(change) {
  Object.assign(chosen, change);
  render();
}

// route reads the address: "#/", "#/jobs", "#/jobs/ID", "#/backups".
function route() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  return { name: ["jobs", "backups"].includes(name) ? name : "", id: id ? decode(id) : "", query: new URLSearchParams(search ?? "") };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function render() {
  const now = source.now();
  const list = [...source.jobs.values()].sort((a, b) => when(b.started_at) - when(a.started_at) || (a.job_id < b.job_id ? 1 : -1));
  samples.forget(new Set(list.filter((record) => record.state === "running").map((record) => record.job_id)));
  const state = {
    now, list, samples, choose, ...chosen, route: route(), items: attention(source, now), verifications: verifications(list), databases: source.databases(),
    jobs: source.jobs, backups: source.backups, away: source.away, logs: source.logs, logsNote: source.logsNote, recovery: source.recovery, connection: source.connection,
    loaded: source.daemon !== null && source.connection.state !== "connecting" && source.logs !== null,
  };
  document.title = title(state);
  show(top, header(state));
  show(main, view(state));
  show(bottom, footer(state));
}

function title({ items, list, route: { name } }) {
  const bad = items.filter((entry) => entry.level === "bad").length;
  const busy = list.filter((record) => record.state === "running").length;
  const parts = [bad > 0 && `✕ ${bad}`, busy > 0 && `▶ ${busy}`, { jobs: "Jobs", backups: "Backups" }[name], `${source.daemon?.sid ?? ""} pipestreamer`.trim()];
  return parts.filter(Boolean).join(" · ");
}

function header(state) {
  const { daemon } = source;
  const link = (to, name, text) => h("a", { href: to, "aria-current": state.route.name === name ? "page" : null }, text);
  return [
    h("div", { class: "who" }, h("a", { class: "name", href: "#/" }, "pipestreamer"),
      daemon && h("strong", { class: "sid" }, daemon.sid),
      daemon && h("span", { class: "quiet" }, "version ", daemon.version, ", runs for ", h("span", { title: new Date(daemon.started_at).toISOString() }, about((state.now - when(daemon.started_at)) / 1000)))),
    h("nav", { "aria-label": "Views" }, link("#/", "", "Overview"), link("#/jobs", "jobs", "Jobs"), link("#/backups", "backups", "Backups")),
    connection(state.connection),
  ];
}

function connection({ state, since, problem }) {
  const next = Math.max(0, Math.ceil((source.retryAt - Date.now()) / 1000)) || 0;
  const texts = {
    connecting: ["note", "connecting …"],
    live: ["ok", "live"],
    polling: ["warn", "no event stream: asking every 5 s"],
    refused: ["bad", `not authenticated since ${clockText(since)}`],
    lost: ["bad", `lost since ${clockText(since)}, trying again${next > 0 ? ` in ${next} s` : " …"}`],
  };
  const [level, text] = texts[state];
  return h("p", { class: `connection ${level}`, "data-state": state, title: problem?.text }, mark(level), " ", text);
}

function view(state) {
  if (!state.loaded && state.list.length === 0) return state.connection.state === "connecting" ? h("p", { class: "quiet" }, "Loading …") : banner(state);
  if (state.route.name === "jobs") return state.route.id ? detail(state) : history(state);
  if (state.route.name === "backups") return backups(state);
  return [h("h1", { class: "unseen" }, `Backups of ${source.daemon?.sid ?? "HANA"}`), banner(state), running(state), databases(state), latest(state)];
}

// banner says what is wrong, or that nothing is.
function banner({ items, list, backups: known, away }) {
  const urgent = items.filter((entry) => entry.level !== "note");
  const notes = items.filter((entry) => entry.level === "note");
  const calm = away ? "Nothing else is known: the store does not answer." : known === null ? "Looking at the store …" : list.length === 0 && known.length === 0 ? "No backup was made yet." : "Nothing to do.";
  return h("section", { "aria-labelledby": "todo", class: "todo" },
    h("h2", { id: "todo" }, urgent.length > 0 ? `${count(urgent.length, "thing")} to look at` : "What to do"),
    urgent.length > 0 ? h("ul", { class: "items" }, urgent.map((entry) => item(entry)))
      : h("p", { class: `calm ${known === null ? "note" : "ok"}` }, mark(known === null ? "note" : "ok"), " ", calm),
    notes.length > 0 && h("ul", { class: "items" }, notes.map((entry) => item(entry))));
}

function latest(state) {
  return h("section", { "aria-labelledby": "latest" }, h("h2", { id: "latest" }, "Latest jobs"),
    jobTable(state.list.filter((record) => record.state !== "running").slice(0, 8), state.now, "No job has ended yet."),
    state.list.length > 8 && h("p", null, h("a", { href: "#/jobs" }, `All ${state.list.length} jobs`)));
}

function footer({ now, recovery }) {
  const looked = Math.max(0, ...[...recovery.values()].map((entry) => entry.at ?? 0));
  return [
    h("p", null, `Times are those of ${zone(now)}; point at one for UTC.`),
    h("p", null, looked > 0 ? ["The store was looked at ", time(looked, clockText), "; again after every job and every 5 minutes. "] : "",
      h("button", { type: "button", disabled: source.looking, onclick: () => source.lookAtStore() }, source.looking ? "Looking …" : "Look again")),
  ];
}

addEventListener("refresh", update);
addEventListener("hashchange", () => {
  chosen.shown = undefined;
  render();
  if (!document.activeElement || document.activeElement === document.body || !main.contains(document.activeElement)) return;
  main.focus({ preventScroll: true });
});
source.start();
render();
