// Tells what the status page would say: reads cases, one line of JSON each, and
// prints for each the list of what has to be looked at.
import { createInterface } from "node:readline";
import { attention, levelOf } from "../../internal/statuspage/assets/attention.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  const { now, jobs = [], logs = [], logsTrouble = "", recovery = {}, problems = {}, connection = { state: "live" }, daemon = null, firstVersion = null } = JSON.parse(line);
  const state = { jobs: new Map(jobs.map((record) => [record.job_id, record])), logs, logsTrouble, recovery: new Map(Object.entries(recovery)), problems, connection, daemon, firstVersion };
  const items = attention(state, Date.parse(now));
  console.log(JSON.stringify(items.map(({ level, title, todo, command }) => ({ level, title, todo: todo ?? "", command: command ?? "", database: levelOf(items, "HXE") }))));
}
