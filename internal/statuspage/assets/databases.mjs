// Each database: to which point it can be restored, and what is behind that.
import { h } from "./dom.mjs";
import { about, bytes, command, count, duration, time, when } from "./format.mjs";
import { backupKey, levelOf, recoveryPoint } from "./attention.mjs";
import { ranges, timeline } from "./timeline.mjs";
import { badge, commandLine, facts, table } from "./widgets.mjs";

const words = { ok: "nothing to do", warn: "look at it", bad: "needs you" };

export function databases(state) {
  const names = state.databases;
  return h("section", { "aria-labelledby": "databases" },
    h("div", { class: "heading" }, h("h2", { id: "databases" }, "To which point can it be restored?"),
      h("div", { class: "ranges", role: "group", "aria-label": "Length of the time line" }, ranges.map(([days, text]) =>
        h("button", { type: "button", "aria-pressed": String(state.days === days), onclick: () => state.choose({ days }) }, text)))),
    names.length === 0 && h("p", { class: "quiet" }, state.backups ? "No database is known yet: neither a backup nor a job names one." : state.away ? "Not known: the store does not answer." : "Looking at the store …"),
    names.map((database) => card(database, state)),
    names.length > 0 && legend());
}

function card(database, state) {
  const { now } = state;
  const status = (state.logs ?? []).find((entry) => entry.database === database);
  const recovery = state.recovery.get(database);
  const backups = (state.backups ?? []).filter((entry) => entry.database === database);
  const jobs = state.list.filter((record) => record.database === database);
  const level = levelOf(state.items, database);
  const point = recoveryPoint(status, recovery);
  const gaps = (recovery?.data?.gaps ?? []).map((gap) => ({ from: when(gap.from), to: when(gap.to), volume: gap.volume_id }));
  const broken = status?.broken && { ...status.broken, at: when(status.broken.at) };
  const windows = recovery?.data?.windows ?? [];
  const failed = jobs.filter((record) => ["backup", "probe", "restore"].includes(record.action) && (record.state === "failed" || record.state === "lost"));
  return h("article", { class: `card database ${level}`, key: database, "data-database": database },
    h("header", null, h("h3", null, database), badge(level, words[level]), state.backups === null && h("span", { class: "quiet" }, state.away ? "the store does not answer" : "looking at the store …")),
    h("div", { class: "answer" }, answer(point, backups, state, now)),
    timeline({ database, windows, gaps, broken, point, backups, failed, verifications: state.verifications, now, days: state.days }),
    facts([
      ["Newest data backup", state.backups === null ? unknown(state) : newest(backups[0], state)],
      ["Log backups", logsText(status, state)],
      ["Volume of the logs lasts", status?.space_seconds_left !== undefined && (status.space_seconds_left > 0 ? about(status.space_seconds_left) : "it is full")],
    ]),
    h("details", null, h("summary", null, "Windows and gaps as a table"),
      table(`Windows and gaps of ${database}`, ["What", "From", "To", "Length"], rows(windows, gaps, broken, point, now), "No window is known.")),
    (windows.length > 0 || backups.length > 0) && h("details", null, h("summary", null, "What would a restore take?"),
      commandLine(windows.length > 0
        ? command("pipestreamer", "restore", "--database", database, "--until", "latest", "--dry-run")
        : command("pipestreamer", "restore", "--database", database, "--backup", "latest", "--dry-run"))));
}

// unknown says why the backups are not known.
const unknown = ({ away }) => (away ? "not known: the store does not answer" : "not known yet");

function answer(point, backups, state, now) {
  if (!Number.isNaN(point)) {
    return [h("span", { class: "quiet" }, "Can be restored to "), h("strong", null, time(point)), h("span", null, ` – ${duration((now - point) / 1000)} ago`)];
  }
  if (backups.length > 0) {
    return [h("span", { class: "quiet" }, "Only to single backups, the newest of "), h("strong", null, time(backups[0].started_at)),
      ` – ${duration((now - when(backups[0].started_at)) / 1000)} ago`];
  }
  return h("strong", null, state.backups ? "Cannot be restored: the store has no backup of it." : state.away ? "Not known: the store does not answer." : "Not known yet.");
}

function newest(backup, state) {
  if (!backup) return "none";
  const verification = state.verifications.get(backupKey(backup));
  return [`${backup.kind}, ${bytes(backup.bytes)}, `, time(backup.finished_at), ` (${about((state.now - when(backup.finished_at)) / 1000)} ago), `,
    !verification ? "not verified" : verification.state === "succeeded" ? "verified" : "its verification has findings"];
}

function logsText(status, { logs, logsNote, now }) {
  if (!status) return logs === null ? "not known yet" : logsNote || "none are shipped: only the state of each data backup can be restored";
  if (status.waiting_files === 0) return "all are in the store";
  return `${count(status.waiting_files, "file")} wait for the store, ${bytes(status.waiting_bytes)}` +
    (status.oldest_waiting ? `, the oldest for ${about((now - when(status.oldest_waiting)) / 1000)}` : "");
}

function rows(windows, gaps, broken, point, now) {
  const list = [
    ...windows.map((w, i) => ({ what: badge("succeeded", "can be restored"), from: when(w.from), to: i === windows.length - 1 ? Math.max(when(w.to), point || 0) : when(w.to) })),
    ...gaps.map((gap) => ({ what: badge("bad", `gap in volume ${gap.volume}`), from: gap.from, to: gap.to })),
  ];
  if (broken) list.push({ what: badge("bad", "log interrupted"), from: broken.at, to: broken.at });
  if (windows.length > 0 && point < now) list.push({ what: badge("note", "not in the store yet"), from: point, to: now });
  return list.sort((a, b) => b.from - a.from).map((row, i) => ({
    key: `${row.from} ${i}`, cells: [row.what, time(row.from), time(row.to), duration((row.to - row.from) / 1000)],
  }));
}

function legend() {
  const drawn = (name, ...shape) => h("svg", { class: `timeline key ${name}`, width: 18, height: 18, "aria-hidden": "true" }, shape);
  const box = (name) => drawn("", h("rect", { class: name, x: 1, y: 3, width: 16, height: 12, rx: 2, fill: name === "window" ? null : `url(#hatch-${name})` }));
  const diamond = (name) => drawn("", h("svg", { x: 9, y: 9, overflow: "visible", class: `data ${name}` }, h("path", { d: "M0 -7L7 0L0 7L-7 0Z" })));
  const entry = (drawing, text) => h("li", null, drawing, " ", text);
  return h("ul", { class: "legend", "aria-label": "What the time lines show" },
    entry(box("window"), "every point can be restored"), entry(box("risk"), "not in the store yet"), entry(box("gap"), "gap in the log"),
    entry(diamond("verified"), "data backup, verified"), entry(diamond("unverified"), "not verified (small: a delta)"),
    entry(drawn("", h("svg", { x: 9, y: 9, overflow: "visible", class: "failed" }, h("path", { d: "M-4 -4L4 4M4 -4L-4 4" }))), "job failed"));
}
