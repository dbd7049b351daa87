// Numbers, times and commands for people.
import { h } from "./dom.mjs";

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(n) {
  let value = Number(n) || 0;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

export const rate = (perSecond) => `${bytes(Math.round(perSecond))}/s`;

// duration takes seconds.
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

// about is a duration for what is not known to the second.
export function about(seconds) {
  const s = Math.max(0, seconds);
  if (s < 90) return `${Math.max(1, Math.round(s))} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

// short leaves out the middle of a long text: HANA's errors begin with what failed
// and end with why. The whole text is with the job.
export function short(text, length = 240) {
  return text.length <= length ? text : `${text.slice(0, length * 0.7)} … ${text.slice(-length * 0.3)}`;
}

export const count = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;

// when is a point in time in milliseconds, NaN for none.
export const when = (text) => (text ? Date.parse(text) : NaN);

const day = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const month = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

export const clockText = (ms) => clock.format(ms);
export const hourText = (ms) => hour.format(ms);
export const dayText = (ms) => month.format(ms);
export const timeText = (ms) => `${day.format(ms)}, ${clock.format(ms)}`;

export function utc(ms) {
  return `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

// time shows a point in time in the zone of the browser, with UTC at hand.
export function time(text, form = timeText) {
  const ms = typeof text === "number" ? text : when(text);
  if (Number.isNaN(ms)) return "–";
  return h("time", { datetime: new Date(ms).toISOString(), title: utc(ms) }, form(ms));
}

// zone names the zone of the browser.
export function zone(ms) {
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const minutes = -new Date(ms).getTimezoneOffset();
  if (minutes === 0) return name === "UTC" ? "UTC" : `${name} (UTC)`;
  const size = Math.abs(minutes);
  const offset = `${minutes < 0 ? "−" : "+"}${Math.floor(size / 60)}:${String(size % 60).padStart(2, "0")}`;
  return `${name} (UTC${offset})`;
}

// command writes a command line that means the same whatever its words hold.
export function command(...words) {
  return words.map((word) => (/^[A-Za-z0-9._:/=-]+$/.test(word) ? word : `'${String(word).replaceAll("'", `'\\''`)}'`)).join(" ");
}
