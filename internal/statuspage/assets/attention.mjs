// What is wrong, what that means and what to do: the first thing that somebody
// wants to know who was woken up. Pure; an item has a level (bad, warn, note), a
// database if it is about one, title, text (told, if it is only the cause of the job),
// todo, command and the job behind it.
import { about, command, count, short, timeText, when } from "./format.mjs";

const HOUR = 3600;
const OLD = 24 * HOUR * 1000; // HANA backs its log up every 15 minutes, unless it is told otherwise

// attention lists what has to be looked at, the worst first.
export function attention(state, now) {
  const items = [];
  const add = (item) => items.push(item);
  ofConnection(state, add);
  const jobs = [...state.jobs.values()].sort((a, b) => when(b.started_at) - when(a.started_at) || (a.job_id < b.job_id ? 1 : -1));
  for (const database of new Set(jobs.map((record) => record.database))) {
    ofDatabase(database, jobs.filter((record) => record.database === database), add);
  }
  for (const record of jobs) if (record.state === "running") ofRunning(record, now, add);
  if (state.logsTrouble) {
    add({
      level: "bad", title: "Log backups cannot be found", text: state.logsTrouble,
      todo: "See to the directory of log backups: no log backup reaches the store until then.",
    });
  }
  for (const status of state.logs ?? []) ofLogs(status, now, add);
  for (const [database, recovery] of state.recovery) ofRecovery(database, recovery, add);
  if (["live", "polling"].includes(state.connection.state)) {
    for (const [path, problem] of Object.entries(state.problems)) ofProblem(path, problem, add);
  }
  const order = { bad: 0, warn: 1, note: 2 };
  return items.sort((a, b) => order[a.level] - order[b.level]);
}

// levelOf is the worst of the items of a database.
export function levelOf(items, database) {
  const levels = items.filter((item) => item.database === database).map((item) => item.level);
  return ["bad", "warn"].find((level) => levels.includes(level)) ?? "ok";
}

function ofConnection({ connection, daemon, firstVersion }, add) {
  if (connection.state === "refused") {
    add({
      level: "bad", title: "The daemon does not let you in", text: connection.problem.text,
      todo: "Reload the page and log in: the password is the token, the user name is of no matter.",
    });
  }
  if (connection.state === "lost") {
    const { problem } = connection;
    add({
      level: "bad", title: problem?.status === 503 ? "The daemon is not ready" : "The daemon does not answer", text: problem?.text,
      todo: problem?.hint ?? "Look at its log (kubectl logs), and whether the port is still forwarded. What is shown here is of before; the page tries again by itself.",
    });
  }
  if (daemon?.draining_since) {
    add({
      level: "bad", title: "The daemon takes no jobs", text: `It was drained at ${timeText(when(daemon.draining_since))}, and refuses every backup since.`,
      todo: "If its pod is not about to end, restart the sidecar: nothing else lets it take jobs again.",
    });
  }
  if (daemon && firstVersion && daemon.version !== firstVersion) {
    add({ level: "note", title: `The daemon is version ${daemon.version} now`, todo: "Reload this page: it came from the version before." });
  }
}

// ofDatabase takes the jobs of a database, newest first.
function ofDatabase(database, jobs, add) {
  const told = new Set();
  const tell = (record, item) => {
    told.add(record.job_id);
    add({ database, job: record.job_id, ...item });
  };
  const good = jobs.find((record) => backsUp(record) && record.kind === "complete" && record.state === "succeeded");
  const since = good ? when(good.started_at) : -Infinity;
  const lost = jobs.find((record) => backsUp(record) && (record.state === "lost" || record.outcome_unknown));
  if (lost && when(lost.started_at) > since) tell(lost, ofLost(lost));
  const restored = jobs.find((record) => record.action === "restore" && record.state !== "running");
  if (restored?.tenant_stopped) {
    tell(restored, {
      level: "bad", title: `Tenant ${database} is stopped`,
      text: `A restore stopped it and could not bring it back. ${cause(restored)}`.trim(),
      todo: "It is not usable until a restore succeeds. See first what a restore takes, then run it without --dry-run.",
      command: command("pipestreamer", "restore", "--database", database, "--until", "latest", "--dry-run"),
    });
  }
  for (const is of [backsUp, (record) => record.action === "restore", (record) => record.action === "verification"]) {
    const last = jobs.find((record) => is(record) && record.state !== "running");
    if (!last || told.has(last.job_id)) continue;
    if (last.state === "failed" || last.state === "lost") tell(last, ofFailed(last, since));
    else if (last.state === "succeeded" && last.warnings?.length && !(last.action === "restore" && since > when(last.started_at))) {
      // After a restore they ask for a complete backup.
      tell(last, { level: "note", title: `The last ${last.action} of ${database} succeeded with ${count(last.warnings.length, "warning")}`, text: last.warnings.join("; ") });
    }
  }
}

const backsUp = (record) => record.action === "backup" || record.action === "probe";

const cause = (record) => (record.error ? `${record.error.code}: ${short(record.error.message)}` : "");

function ofLost(record) {
  const name = record.backup_id ? `backup ${record.backup_id}` : "the backup";
  const again = command("pipestreamer", "backup", "--database", record.database);
  if (record.state === "lost") {
    return {
      level: "bad", title: `A backup of ${record.database} is lost`,
      text: `HANA's catalog lists ${name} as successful and the store does not have it: it cannot be restored. ${cause(record)}`.trim(),
      todo: "Make a complete backup now; deltas are refused until it has succeeded.", command: again,
    };
  }
  return {
    level: "bad", title: `Nobody knows how a backup of ${record.database} ended in HANA`,
    text: `HANA may take ${name} for a good one; the store does not have it. ${cause(record)}`.trim(),
    todo: "Look at M_BACKUP_CATALOG, then make a complete backup; deltas are refused until it has succeeded.", command: again,
  };
}

function ofFailed(record, since) {
  const findings = record.findings ?? [];
  if (record.action === "verification" && findings.length > 0) {
    const newer = since > when(record.started_at);
    const errors = findings.filter((finding) => finding.severity === "error").length;
    return {
      level: errors > 0 && !newer ? "bad" : "warn",
      title: `Backup ${record.backup_id ?? ""} of ${record.database}: ${count(findings.length, "finding")} in its verification`,
      text: findings[0].message + (findings.length > 1 ? ` (and ${findings.length - 1} more)` : ""),
      todo: newer
        ? "A complete backup has succeeded since. Do not restore from the one with findings."
        : errors > 0 ? "Treat this backup as unusable and make a new one." : "Look at the warnings.",
      command: newer || errors === 0 ? command("pipestreamer", "show", record.job_id) : command("pipestreamer", "backup", "--database", record.database),
    };
  }
  return {
    level: "bad", title: `The last ${record.action} of ${record.database} failed`, text: cause(record), told: true,
    todo: record.error?.hint ?? "", command: command("pipestreamer", "show", record.job_id),
  };
}

function ofRunning(record, now, add) {
  const common = { database: record.database, job: record.job_id };
  if (record.command) {
    add({
      ...common, level: "warn", title: "A restore waits for you", text: "SYSTEMDB cannot be recovered from outside.",
      todo: "Run this now, as <sid>adm in HANA's container, while the streams are served:", command: record.command,
    });
  }
  const streams = record.streams ?? [];
  const failing = streams.find((stream) => stream.store_error);
  if (failing) {
    add({
      ...common, level: "warn", title: `The store fails, and the ${record.action} of ${record.database} asks it again`, text: failing.store_error,
      todo: `Look at the store and the network. ${patience(failing, now)}`,
    });
  }
  const stalled = streams.filter((stream) => stream.stalled && !stream.store_error);
  if (stalled.length > 0) {
    const sides = [...new Set(stalled.map((stream) => (stream.waiting_for === "hana" ? "HANA" : "the store")))].join(" and ");
    add({
      ...common, level: "warn", title: `Nothing moves in ${count(stalled.length, "stream")} of the ${record.action} of ${record.database}`,
      text: `It waits for ${sides}.`,
      todo: sides.includes("HANA") ? "Look at M_BACKUP_PROGRESS, M_JOB_PROGRESS and the trace of the service." : "Look at the store and the network.",
    });
  }
}

// patience says how long the store fails and is asked again.
function patience({ store_error_since: since, store_error_until: until }, now) {
  if (!since || !until) return "The job goes on by itself when the store answers in time, and fails otherwise (store.outageTolerance).";
  const left = (when(until) - now) / 1000;
  return `It has failed for ${about((now - when(since)) / 1000)}. The job goes on by itself when the store answers ` +
    `${left > 0 ? `within about ${about(left)}` : "now"}, and fails otherwise (store.outageTolerance).`;
}

function ofLogs(status, now, add) {
  const { database } = status;
  const say = (level, title, text, todo, line) => add({ database, level, title: `${database}: ${title}`, text, todo, command: line });
  const backup = command("pipestreamer", "backup", "--database", database);
  const since = (text) => (text ? ` (since ${timeText(when(text))})` : "");
  if (status.store_trouble) {
    say("bad", "log backups do not reach the store", status.store_trouble + since(status.store_trouble_since),
      "Look at the store and the network. Log backups wait on the volume, and are tried again by themselves.");
  }
  if (status.volume_trouble) {
    say("bad", "new log backups cannot be seen", status.volume_trouble + since(status.volume_trouble_since), "See to the directory of log backups.");
  }
  const left = status.space_seconds_left;
  if (left !== undefined && left < 12 * HOUR) {
    say(left < 2 * HOUR ? "bad" : "warn", `the volume of the log backups is full${left > 0 ? ` in about ${about(left)}` : ""}`,
      `${count(status.waiting_files, "file")} wait for the store.`, "HANA stands still when its log backups have no room: mend what keeps them from the store, or make room.");
  }
  const point = when(status.recovery_point);
  if (now - point > OLD) {
    say("warn", `the newest point that can be restored is ${about((now - point) / 1000)} old`, "Either nothing was committed since, or HANA makes no log backups.",
      "Look at log_mode and log_backup_timeout_s:", command("pipestreamer", "doctor", "--database", database));
  }
  if (status.base_trouble) say("bad", "the log has no data backup to go on from", status.base_trouble, "Make a complete backup.", backup);
  if (status.broken) {
    say("bad", "the history of the log is interrupted", `${status.broken.reason} ${status.broken.message ?? ""} at ${timeText(when(status.broken.at))}`.trim(),
      "Nothing after that can be restored: make a complete backup now.", backup);
  }
  const gaps = status.gaps ?? [];
  if (gaps.length > 0) {
    say("bad", `${count(gaps.length, "gap")} in the log`, `Log of volume ${gaps[0].volume_id} is in no log backup, between ${gaps[0].after_file || "the data backup"} and ${gaps[0].before_file}.`,
      "Look for the missing files on the volume. If they are gone, make a complete backup now: nothing after a gap can be restored without one.", backup);
  }
  if (status.conflict_files > 0) {
    say("bad", `${count(status.conflict_files, "log backup")} with other content than the store has`, first(status.conflicts),
      "Two systems may write to one place in the store: compare hana.sid and store.root of both.");
  }
  if (status.problem_files > 0) say("warn", `${count(status.problem_files, "log backup")} cannot be read or removed`, first(status.problems), "See to the owner and the mode of the files.");
  if (status.unconfirmed_files > 0) {
    const oldest = when(status.unconfirmed?.[0]?.since);
    if (now - oldest > HOUR * 1000) {
      say("warn", `HANA's catalog does not confirm ${count(status.unconfirmed_files, "log backup")}`, first(status.unconfirmed), "Look at M_BACKUP_CATALOG and the database's backup.log.");
    }
  }
  if (status.damaged_indexes?.length > 0) {
    say("warn", `${count(status.damaged_indexes.length, "index file")} cannot be read`, status.damaged_indexes[0], "The log backups in it are left out of recoveries: look at the object.");
  }
}

const first = (list) => (list?.[0] ? `${list[0].file}: ${list[0].text}` : "");

function ofRecovery(database, { data, problem }, add) {
  if (problem && problem.status !== 0 && problem.status !== 401) {
    add({ database, level: "warn", title: `${database}: what can be restored is not known`, text: problem.text, todo: problem.hint ?? "Look at the store and the network." });
  }
  const missing = data?.missing ?? [];
  if (missing.length > 0) {
    add({
      database, level: "bad", title: `${database}: ${count(missing.length, "object")} missing in the store`, text: missing[0],
      todo: "Find out who removes objects (a lifecycle rule of the bucket?), then make a complete backup.",
      command: command("pipestreamer", "backup", "--database", database),
    });
  }
  const notes = data?.notes ?? [];
  if (notes.length > 0) {
    add({ database, level: "warn", title: `${database}: ${count(notes.length, "description")} in the store cannot be read`, text: notes[0], todo: "They are left out of recoveries: look at the objects." });
  }
}

function ofProblem(path, problem, add) {
  if (problem.status === 0) return; // cut off; the connection tells
  add({ level: "warn", title: `${path} cannot be read`, text: problem.text, todo: problem.hint ?? "Look at the log of the daemon." });
}

// recoveryPoint is the newest point that a database can be restored to, in
// milliseconds; NaN when there is none. Between two looks at the store the shipper
// of the logs knows a newer one, which counts as long as the store has everything:
// the shipper does not hear of objects that somebody removed.
export function recoveryPoint(status, recovery) {
  const shipped = when(status?.recovery_point);
  if (!recovery?.data) return shipped;
  const { recovery_point: point, missing, notes } = recovery.data;
  const sure = when(point);
  const whole = !missing?.length && !notes?.length;
  return whole && shipped > sure ? shipped : sure;
}

// verifications are the newest ones that have ended and tell something, by backup.
export function verifications(jobs) {
  const newest = new Map();
  for (const record of jobs) {
    if (record.action !== "verification" || (record.state !== "succeeded" && !record.findings?.length)) continue;
    const key = backupKey(record);
    if (!newest.has(key) || when(record.finished_at) > when(newest.get(key).finished_at)) newest.set(key, record);
  }
  return newest;
}

export const backupKey = ({ database, backup_id: id }) => `${id} ${database}`;
