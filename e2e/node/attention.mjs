// Tells what the status page would say: reads cases, one line of JSON each, and
// prints for each what has to be looked at, and to which point HXE can be restored.
import { createInterface } from "node:readline";
import { attention, levelOf, recoveryPoint } from "../../internal/statuspage/assets/attention.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  const { now, jobs = [], logs = [], logsTrouble = "", recovery = {}, problems = {}, connection = { state: "live" }, daemon = null, firstVersion = null } = JSON.parse(line);
  const state = { jobs: new Map(jobs.map((record) => [record.job_id, record])), logs, logsTrouble, recovery: new Map(Object.entries(recovery)), problems, connection, daemon, firstVersion };
  const items = attention(state, Date.parse(now));
  const point = recoveryPoint(logs.find(({ database }) => database === "HXE"), recovery.HXE);
  console.log(JSON.stringify({
    advice: items.map(({ level, title, todo, command }) => ({ level, title, todo: todo ?? "", command: command ?? "", database: levelOf(items, "HXE") })),
    ...(point > 0 && { point: new Date(point).toISOString() }),
  }));
}
