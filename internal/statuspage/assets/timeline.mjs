// The points in time to which a database can be restored, on a line.
import { h } from "./dom.mjs";
import { about, bytes, dayText, duration, hourText, timeText, utc, when } from "./format.mjs";
import { backupKey } from "./attention.mjs";

export const ranges = [[1, "1 day"], [14, "14 days"], [90, "90 days"]];
const DAY = 86_400_000;
const RIGHT = 0.985; // of the width is now: a mark at its end has room

// timeline takes what is known of one database: windows, gaps, the interruption,
// recovery point, backups, failed jobs, verifications by backup.
export function timeline({ database, windows, gaps, broken, point, backups, failed, verifications, now, days }) {
  const from = now - days * DAY;
  const at = (ms) => Math.max(0, Math.min(100, (100 * RIGHT * (ms - from)) / (now - from)));
  const percent = (ms) => `${at(ms).toFixed(3)}%`;
  const seen = (ms) => ms >= from && ms <= now + DAY;
  const span = (name, a, b, title, key) => b > from && h("rect", {
    key, class: name, x: percent(a), y: 24, width: `${Math.max(0.15, at(b) - at(a)).toFixed(3)}%`, height: 18, rx: 2,
    // Not in the style sheet: there the address would be that of the sheet.
    fill: name === "gap" || name === "risk" ? `url(#hatch-${name})` : null,
  }, h("title", null, title));
  const spans = extended(windows, point);
  return h("svg", { class: "timeline", role: "img", height: 74, "aria-label": summary(database, spans, gaps, broken, point, backups, now) },
    h("defs", null, hatch("gap"), hatch("risk")),
    ticks(from, now, days).map((tick) => [
      h("line", { class: "tick", x1: percent(tick.at), x2: percent(tick.at), y1: 24, y2: 50 }),
      h("text", { class: tick.minor ? "minor" : "major", x: percent(tick.at), y: 66, "text-anchor": "middle" }, tick.text),
    ]),
    h("rect", { class: "track", x: 0, y: 24, width: `${100 * RIGHT}%`, height: 18, rx: 2 }),
    // Below the windows: what can be restored in spite of a gap is seen.
    gaps.map((g) => span("gap", g.from, g.to, `Gap: the log from ${timeText(g.from)} to ${timeText(g.to)} is in no log backup`, `g${g.from}`)),
    spans.map((w) => span("window", w.from, w.to, `Every point can be restored from ${timeText(w.from)} to ${timeText(w.to)} (${duration((w.to - w.from) / 1000)})`, `w${w.from}`)),
    spans.length > 0 && point < now && span("risk", point, now, `Since ${timeText(point)} nothing is in the store yet: ${duration((now - point) / 1000)}`, "risk"),
    broken && seen(broken.at) && h("g", { class: "break" },
      h("line", { x1: percent(broken.at), x2: percent(broken.at), y1: 4, y2: 50 }),
      h("title", null, `The history of the log was interrupted at ${timeText(broken.at)}: ${broken.reason}`)),
    // By HANA's clock, as the windows are: a backup id is when it began.
    backups.filter((b) => seen(b.backup_id)).map((b) => backupMark(b, percent(b.backup_id), verifications)),
    failed.filter((r) => seen(when(r.finished_at))).map((r) => h("svg", { key: r.job_id, x: percent(when(r.finished_at)), y: 12, overflow: "visible", class: "failed" },
      h("path", { d: "M-4 -4L4 4M4 -4L-4 4" }), h("title", null, `${r.action} ${r.state} at ${timeText(when(r.finished_at))}: ${r.error?.code ?? ""}`))),
    seen(point) && h("g", { class: "point" }, h("line", { x1: percent(point), x2: percent(point), y1: 20, y2: 46 }),
      h("title", null, `Newest point that can be restored: ${timeText(point)} (${utc(point)})`)));
}

// extended lets the newest window go on to the recovery point, which is known
// between two looks at the store.
function extended(windows, point) {
  const spans = windows.map((w) => ({ from: when(w.from), to: when(w.to) }));
  const last = spans.at(-1);
  if (last && point > last.to) last.to = point;
  return spans;
}

function backupMark(b, x, verifications) {
  const size = b.kind === "complete" ? 7 : b.kind === "differential" ? 5.5 : 4;
  const verification = verifications.get(backupKey(b));
  const state = !verification ? "unverified" : verification.state === "succeeded" ? "verified" : "doubtful";
  const words = { unverified: "not verified", verified: "verified", doubtful: "its verification has findings" }[state];
  return h("svg", { key: `b${b.backup_id}`, x, y: 12, overflow: "visible", class: `data ${state}` },
    h("path", { d: `M0 ${-size}L${size} 0L0 ${size}L${-size} 0Z` }),
    state === "doubtful" && h("path", { class: "cross", d: "M-3 -3L3 3M3 -3L-3 3" }),
    h("title", null, `${b.kind} backup ${b.backup_id}, ${bytes(b.bytes)}, ended ${timeText(when(b.finished_at))}, ${words}`));
}

const hatch = (name) => h("pattern", { id: `hatch-${name}`, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
  h("rect", { class: `${name}-ground`, width: 6, height: 6 }), h("rect", { class: `${name}-stripe`, width: 2.5, height: 6 }));

// ticks are at hours or days of the browser's zone.
function ticks(from, to, days) {
  const list = [];
  const next = new Date(from);
  const step = days <= 1 ? 3 : days <= 14 ? 24 : 24 * 7;
  next.setMinutes(0, 0, 0);
  if (step === 3) next.setHours(Math.floor(next.getHours() / 3) * 3);
  else next.setHours(0);
  for (let i = 0; next.getTime() <= to; i++) {
    const at = next.getTime();
    const edge = (at - from) / (to - from);
    const text = step === 3 ? (next.getHours() === 0 ? dayText(at) : hourText(at)) : dayText(at);
    if (edge >= 0) list.push({ at, text: edge > 0.02 && edge < 0.985 ? text : "", minor: i % 4 !== 0 });
    if (step === 3) next.setHours(next.getHours() + 3);
    else next.setDate(next.getDate() + step / 24);
  }
  return list;
}

function summary(database, spans, gaps, broken, point, backups, now) {
  const parts = [`Time line of ${database}`];
  if (spans.length === 0) parts.push("no point in time can be restored, only single backups");
  else parts.push(`${spans.length} window${spans.length === 1 ? "" : "s"} in which every point can be restored`);
  if (!Number.isNaN(point)) parts.push(`the newest point is ${about((now - point) / 1000)} old`);
  if (gaps.length > 0) parts.push(`${gaps.length} gaps`);
  if (broken) parts.push("the log is interrupted");
  parts.push(`${backups.length} data backups`);
  return `${parts.join(", ")}. The table below has the times.`;
}
