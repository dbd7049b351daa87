// The history of jobs, one job in full, and the backups in the store.
import { h } from "./dom.mjs";
import { about, bytes, command, count, duration, short, time, when } from "./format.mjs";
import { backupKey } from "./attention.mjs";
import { expected, jobTitle, sum } from "./running.mjs";
import { streamName } from "./samples.mjs";
import { badge, bar, choice, commandLine, facts, item, jobLink, table } from "./widgets.mjs";

const PAGE = 50;
const actions = ["backup", "restore", "verification", "plan", "probe"];
const states = ["running", "succeeded", "failed", "lost", "canceled"];

// history lists the jobs, those of the filter in the address only.
export function history(state) {
  const { query } = state.route;
  const wanted = (name) => query.get(name) ?? "";
  const matching = state.list.filter((record) => ["database", "state", "action"].every((name) => !wanted(name) || record[name] === wanted(name)));
  const shown = matching.slice(0, state.shown ?? PAGE);
  const all = [["", "all"]];
  return h("section", { "aria-labelledby": "history" }, h("h1", { id: "history" }, "Jobs"),
    h("div", { class: "filters" },
      choice("Database", wanted("database"), all.concat(state.databases.map((name) => [name, name])), (value) => filter(query, "database", value)),
      choice("State", wanted("state"), all.concat(states.map((name) => [name, name])), (value) => filter(query, "state", value)),
      choice("Action", wanted("action"), all.concat(actions.map((name) => [name, name])), (value) => filter(query, "action", value)),
      h("span", { class: "quiet", role: "status" }, count(matching.length, "job"))),
    jobTable(shown, state.now, state.list.length === 0 ? "No job was ever run, as far as this daemon remembers." : "No job is like that."),
    matching.length > shown.length && h("p", null, h("button", { type: "button", onclick: () => state.choose({ shown: shown.length + PAGE }) }, `Show ${Math.min(PAGE, matching.length - shown.length)} more`)));
}

function filter(query, name, value) {
  const next = new URLSearchParams(query);
  if (value) next.set(name, value);
  else next.delete(name);
  location.hash = `#/jobs${next.size > 0 ? `?${next}` : ""}`;
}

// jobTable has a row for each job.
export function jobTable(list, now, none) {
  return table("Jobs, newest first", ["Job", "State", "Began", "Took", "Bytes", "Cause and what to do"], list.map((record) => ({
    key: record.job_id,
    cells: [
      h("a", { href: jobLink(record.job_id) }, jobTitle(record), record.kind ? ` (${record.kind})` : ""),
      badge(record.state),
      time(record.started_at),
      duration(((record.state === "running" ? now : when(record.finished_at)) - when(record.started_at)) / 1000),
      bytes(sum(record, (stream) => stream.bytes)),
      record.error ? [h("span", { class: "said" }, h("code", null, record.error.code), " ", short(record.error.message, 160)), record.error.hint && h("p", null, record.error.hint)]
        : record.warnings?.length ? h("span", { class: "quiet" }, count(record.warnings.length, "warning")) : "",
    ],
  })), none);
}

// detail shows one job.
export function detail(state) {
  const record = state.jobs.get(state.route.id);
  if (!record) {
    return h("section", null, h("h1", null, "Job"), h("p", { class: "quiet" }, state.loaded ? `No job ${state.route.id} is known.` : "Loading …"),
      h("p", null, h("a", { href: "#/jobs" }, "All jobs")));
  }
  const running = record.state === "running";
  return h("section", { class: "detail", key: record.job_id, "aria-labelledby": "job", "data-job": record.job_id },
    h("p", null, h("a", { href: "#/jobs" }, "← All jobs")),
    h("h1", { id: "job" }, jobTitle(record), " ", badge(record.state)),
    verdict(record, state),
    facts([
      ["Job", h("code", null, record.job_id)], ["Kind", record.kind], ["Stage", record.stage], ["Asked for by", record.requested_by], ["Began", time(record.started_at)],
      ["Ended", record.finished_at && time(record.finished_at)],
      ["Took", duration(((running ? state.now : when(record.finished_at)) - when(record.started_at)) / 1000)],
      ["Bytes", bytes(sum(record, (stream) => stream.bytes))],
      ["Backup id", record.backup_id], ["Builds on", record.base_id], ["Source", record.source], ["Prefix", record.prefix],
      ["Still on the volume", record.spooled?.length > 0 && count(record.spooled.length, "file")],
      ["Manifest", record.manifest && h("code", null, record.manifest)],
    ]),
    plan(record), probe(record), findings(record), streams(record), events(record),
    h("h2", null, "On the command line"), commandLine(command("pipestreamer", "show", record.job_id, ...(running ? ["--follow"] : []))));
}

// verdict says why a job did not succeed, or what else to look at.
function verdict(record, state) {
  const own = state.items.filter((entry) => entry.job === record.job_id);
  const { error } = record;
  const codes = error && [error.hana_code && `HANA ${error.hana_code}`, error.hana_inner?.length && `inside: ${error.hana_inner.join(", ")}`].filter(Boolean).join(", ");
  return [
    own.length > 0 && h("ul", { class: "items", "aria-label": "What to do" }, own.map((entry) => item({ ...entry, job: undefined, text: entry.told ? undefined : entry.text }, "h2"))),
    error && h("div", { class: "card cause" }, h("h2", null, "Cause"),
      h("p", { class: "said" }, error.message),
      facts([["Code", h("code", null, error.code)], ["Stage", error.stage], ["Stream", error.stream], ["HANA's codes", codes], ["Noticed", error.at && time(error.at)]]),
      error.hint && own.length === 0 && h("p", null, h("strong", null, "What to do: "), error.hint)),
    list("Followed by", record.consequences), list("Warnings", record.warnings),
  ];
}

const list = (heading, texts) => texts?.length > 0 && [h("h2", null, heading), h("ul", null, texts.map((text) => h("li", { class: "said" }, text)))];

function plan(record) {
  if (!record.plan) return null;
  const p = record.plan;
  return [h("h2", null, "What the restore uses"), facts([
    ["Complete backup", p.complete], ["Deltas", p.deltas?.join(", ")], ["Log backups", p.logs], ["Asked for", p.until && time(p.until)], ["Reaches", time(p.reaches)],
    ["HANA reads", `${bytes(p.needs.data_bytes)} in ${count(p.needs.data_files, "file")}`], ["Laid out before", `${bytes(p.needs.staged_bytes)} in ${count(p.needs.staged_files, "file")}`],
    ["Objects", p.needs.objects],
  ]), list("What could not be proven", p.notes)];
}

function probe({ probe: report }) {
  if (!report?.recommendation && !report?.reason) return null;
  return [h("h2", null, "What the probe recommends"), facts([["door", h("code", null, report.recommendation)], ["Because", report.reason], ["HANA", report.hana_version]])];
}

function findings(record) {
  if (!record.findings?.length) return null;
  return [h("h2", null, "Findings"), table("Findings", ["Severity", "Code", "Stream", "What", "Object"], record.findings.map((finding, i) => ({
    key: `${i}`,
    cells: [badge(finding.severity === "error" ? "bad" : "warn", finding.severity), h("code", null, finding.code), finding.stream ?? "",
      h("span", { class: "said" }, finding.message), finding.key ? h("code", null, finding.key, finding.part_number ? ` part ${finding.part_number}` : "") : ""],
  })))];
}

function streams(record) {
  if (!record.streams?.length) return null;
  return [h("h2", null, "Streams"), table("Streams", ["Stream", "Service", "Bytes", "In the store", "Way", "Time went into", "State"], record.streams.map((stream) => ({
    key: streamName(stream),
    cells: [
      h("span", { title: stream.path }, streamName(stream)), [stream.service, " ", h("span", { class: "quiet" }, stream.host)],
      [bytes(stream.bytes), record.state === "running" && bar(`Stream ${streamName(stream)}`, stream.bytes, expected(stream), stream.stored)],
      bytes(stream.stored), { fifo: "pipe", spool: "file" }[stream.door] ?? stream.door ?? "", waits(stream.waits), stream.done ? "whole" : record.state === "running" ? "under way" : "broken off",
    ],
  })))];
}

// waits tells where the time of a stream went.
function waits({ hana_seconds: hana, store_seconds: store, own_seconds: own }) {
  const total = hana + store + own;
  if (total === 0) return "";
  const share = (seconds) => `${Math.round((100 * seconds) / total)} %`;
  return `HANA ${share(hana)}, store ${share(store)}, own work ${share(own)}`;
}

const sides = { hana: "HANA", store: "store", pipestreamer: "pipestreamer", operator: "operator" };

function events(record) {
  if (!record.history?.length) return null;
  const begin = when(record.started_at);
  return [h("h2", null, "What happened"), table("What happened, in order", ["When", "After", "Who", "Stream", "What"], record.history.map((event, i) => ({
    key: `${i}`,
    cells: [time(event.at), `${((when(event.at) - begin) / 1000).toFixed(1)} s`, h("span", { class: `side ${sides[event.side] ? event.side : ""}` }, sides[event.side] ?? event.side),
      event.stream ? `${event.stream}${event.bytes ? ` at ${bytes(event.bytes)}` : ""}` : "", h("span", { class: "said" }, event.text)],
  })))];
}

// backups lists what is in the store.
export function backups(state) {
  const wanted = state.route.query.get("database") ?? "";
  const matching = (state.backups ?? []).filter((backup) => !wanted || backup.database === wanted);
  const shown = matching.slice(0, state.shown ?? PAGE);
  return h("section", { "aria-labelledby": "backups" }, h("h1", { id: "backups" }, "Backups in the store"),
    h("div", { class: "filters" }, choice("Database", wanted, [["", "all"]].concat(state.databases.map((name) => [name, name])), (value) => {
      location.hash = `#/backups${value ? `?${new URLSearchParams({ database: value })}` : ""}`;
    }), state.backups && h("span", { class: "quiet", role: "status" }, count(matching.length, "backup"))),
    table("Backups, newest first", ["Backup id", "Database", "Kind", "Ended", "Size", "Streams", "Last verification"], shown.map((backup) => ({
      key: `${backup.database} ${backup.backup_id}`,
      cells: [
        state.jobs.has(backup.job_id) ? h("a", { href: jobLink(backup.job_id) }, backup.backup_id) : String(backup.backup_id),
        backup.database, backup.kind, time(backup.finished_at), bytes(backup.bytes), String(backup.streams), verified(backup, state),
      ],
    })), state.backups ? "The store has no backup." : state.away ? "Not known: the store does not answer." : "Looking at the store …"),
    matching.length > shown.length && h("p", null, h("button", { type: "button", onclick: () => state.choose({ shown: shown.length + PAGE }) }, `Show ${Math.min(PAGE, matching.length - shown.length)} more`)),
    shown.length > 0 && [h("h2", null, "Read the newest one back"), commandLine(command("pipestreamer", "verify", "--database", wanted || shown[0].database, "--backup", "latest"))]);
}

function verified(backup, state) {
  const record = state.verifications.get(backupKey(backup));
  if (!record) return h("span", { class: "quiet" }, "none in the jobs that are remembered");
  const found = record.findings?.length ?? 0;
  const kind = found === 0 ? "ok" : record.findings.some((finding) => finding.severity === "error") ? "bad" : "warn";
  return h("a", { href: jobLink(record.job_id) }, badge(kind, found === 0 ? "good" : count(found, "finding")), ` ${about((state.now - when(record.finished_at)) / 1000)} ago`);
}
