// The jobs that run: how far, how fast, and who is waited for.
import { h } from "./dom.mjs";
import { about, bytes, duration, rate, when } from "./format.mjs";
import { streamName } from "./samples.mjs";
import { badge, bar, commandLine, jobLink } from "./widgets.mjs";

const stages = ["plan", "arm", "trigger", "stream", "settle", "commit", "clean"];
const sides = { hana: "waits for HANA", store: "waits for the store", pipestreamer: "at work" };
const doing = { backup: "Backup of", restore: "Restore of", verification: "Verification of", plan: "Plan of a restore of", probe: "Probe of" };

export const jobTitle = (record) => `${doing[record.action] ?? record.action} ${record.database}`;

export function running(state) {
  const jobs = [...state.jobs.values()].filter((record) => record.state === "running").sort((a, b) => when(a.started_at) - when(b.started_at));
  return h("section", { "aria-labelledby": "running" }, h("h2", { id: "running" }, "Running now"),
    jobs.length === 0 && h("p", { class: "quiet" }, "No job runs."),
    jobs.map((record) => job(record, state)));
}

// expected is what a stream will come to, as far as anybody knows.
export const expected = (stream) => (stream.done ? stream.bytes : Math.max(stream.estimated_size ?? 0, stream.bytes));

export const sum = (record, of) => (record.streams ?? []).reduce((total, stream) => total + of(stream), 0);

function job(record, { samples, now }) {
  const here = Date.now();
  const passed = sum(record, (stream) => stream.bytes);
  const total = sum(record, expected);
  const speed = samples.rate(record.job_id, undefined, here);
  const steady = samples.rate(record.job_id, undefined, here, 60);
  const reach = samples.reach(record.job_id, here);
  const left = steady > 0 && record.stage === "stream" && total > passed ? (total - passed) / steady : NaN;
  return h("article", { class: "card job", key: record.job_id, "data-job": record.job_id },
    h("header", null,
      h("h3", null, h("a", { href: jobLink(record.job_id) }, jobTitle(record)), record.kind && h("span", { class: "quiet" }, ` ${record.kind}`)),
      badge("running"),
      record.attempt > 1 && h("span", { class: "quiet" }, "once more, through files")),
    steps(record),
    h("div", { class: "figures" },
      figure("passed", total > 0 ? `${bytes(passed)} of ${passed < total ? "about " : ""}${bytes(total)}` : bytes(passed)),
      figure("now", rate(speed)),
      figure("since", duration((now - when(record.started_at)) / 1000)),
      figure("left", Number.isNaN(left) ? "–" : `about ${about(left)}`)),
    bar(`${jobTitle(record)}: all streams`, passed, total, sum(record, (stream) => stream.stored)),
    plot(samples.series(record.job_id, undefined, here, reach), reach, `Throughput of the ${record.action} of ${record.database}`, true),
    record.command && h("div", null, h("p", null, h("strong", null, "Run this now, as <sid>adm in HANA's container:")), commandLine(record.command)),
    streams(record, samples, here, reach));
}

const figure = (name, value) => h("div", { class: "figure" }, h("span", { class: "quiet" }, name), h("strong", null, value));

function steps(record) {
  if (record.action !== "backup" && record.action !== "probe") return h("p", { class: "quiet" }, `Stage: ${record.stage}`);
  const at = stages.indexOf(record.stage);
  return h("ol", { class: "steps", "aria-label": "Stages" }, stages.map((name, i) =>
    h("li", { class: i < at ? "past" : i === at ? "here" : "next", "aria-current": i === at ? "step" : null }, name)));
}

function streams(record, samples, here, reach) {
  const list = record.streams ?? [];
  if (list.length === 0) return h("p", { class: "quiet" }, "No stream is known yet.");
  const series = list.map((stream) => samples.series(record.job_id, streamName(stream), here, reach));
  const most = Math.max(1, ...series.flat().map((point) => point.rate));
  return h("ul", { class: "streams", "aria-label": "Streams" }, list.map((stream, i) => h("li", { key: streamName(stream) },
    h("div", { class: "name" }, h("strong", null, `${stream.volume_id}_${stream.part_id}`), " ", stream.service, " ", h("span", { class: "quiet" }, stream.host)),
    bar(`Stream ${streamName(stream)} of ${stream.service}`, stream.bytes, expected(stream), stream.stored),
    h("div", { class: "amount" }, amount(stream)),
    h("div", { class: "pace" }, plot(series[i], reach, `Throughput of stream ${streamName(stream)}`, false, most)),
    h("div", { class: "waits" }, waits(stream)))));
}

function amount(stream) {
  const total = expected(stream);
  const text = stream.done || total === 0 ? bytes(stream.bytes) : `${bytes(stream.bytes)} of ${bytes(total)}`;
  return stream.written ? `${text}, ${bytes(stream.written)} on the volume` : text;
}

function waits(stream) {
  if (stream.done) return badge("succeeded", "read to its end");
  return [
    stream.waiting_for ? h("span", null, sides[stream.waiting_for] ?? stream.waiting_for) : h("span", { class: "quiet" }, "not begun"),
    stream.stalled && [" ", badge("warn", "nothing moves")],
    stream.store_error && h("p", { class: "said" }, badge("warn", "the store fails and is asked again"), " ", stream.store_error),
  ];
}

// plot draws rates over the last seconds. A frame has the scale beside it.
function plot(series, reach, label, frame, scale) {
  const most = scale ?? Math.max(1, ...series.map((point) => point.rate));
  const x = (point) => (100 * (1 - point.ago / reach)).toFixed(2);
  const y = (point) => (38 - (36 * point.rate) / most).toFixed(2);
  const line = series.map((point, i) => `${i === 0 ? "M" : "L"}${x(point)} ${y(point)}`).join("");
  const last = series.at(-1);
  const area = series.length > 1 ? `${line}L${x(last)} 39L${x(series[0])} 39Z` : "";
  const text = series.length > 1 ? `${label}: ${rate(last.rate)} now, at most ${rate(Math.max(...series.map((point) => point.rate)))} in the last ${about(reach)}` : `${label}: nothing seen yet`;
  const drawing = h("svg", { class: "plot", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": text },
    h("title", null, text),
    frame && [0.5, 1].map((part) => h("line", { class: "grid", x1: 0, x2: 100, y1: 38 - 36 * part, y2: 38 - 36 * part })),
    h("line", { class: "base", x1: 0, x2: 100, y1: 39, y2: 39 }),
    h("path", { class: "area", d: area }), h("path", { class: "line", d: series.length > 1 ? line : "" }));
  if (!frame) return drawing;
  return h("figure", { class: "throughput" }, drawing,
    h("figcaption", { "aria-hidden": "true" }, h("span", null, `${about(reach)} ago`), h("span", null, `top: ${rate(most)}`), h("span", null, "now")));
}

