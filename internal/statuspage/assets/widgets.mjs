// Small things that several views show.
import { h } from "./dom.mjs";

const marks = { running: "▶", succeeded: "✓", failed: "✕", lost: "✕", canceled: "◼", ok: "✓", bad: "✕", warn: "!", note: "i" };
const classes = { running: "run", succeeded: "ok", failed: "bad", lost: "bad", canceled: "off" };

// badge tells a state by mark, word and colour.
export function badge(state, text = state) {
  return h("span", { class: `badge ${classes[state] ?? state}` }, h("span", { "aria-hidden": "true" }, marks[state] ?? "·"), " ", text);
}

export const mark = (level) => h("span", { class: `mark ${level}`, "aria-hidden": "true" }, marks[level]);

// bar shows done of total, and beside it what is on its way.
export function bar(label, value, total, sure = value) {
  const part = total > 0 ? Math.min(100, (100 * value) / total) : 0;
  return h("div", {
    class: "bar", role: "progressbar", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.floor(part)),
  }, h("div", { class: "way", "width%": part }), h("div", { class: "sure", "width%": total > 0 ? Math.min(100, (100 * sure) / total) : 0 }));
}

let copied = null; // the command that was copied last, and how that went

// commandLine shows a command with a button that copies it.
export function commandLine(text) {
  const label = copied?.text === text ? copied.label : "Copy";
  return h("div", { class: "command" }, h("code", { translate: "no" }, text),
    h("button", { type: "button", onclick: (event) => copy(text, event.currentTarget), "aria-label": `${label}: ${text}` }, label));
}

async function copy(text, button) {
  const range = document.createRange();
  range.selectNodeContents(button.parentElement.querySelector("code"));
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  try {
    await navigator.clipboard.writeText(text);
    copied = { text, label: "Copied" };
  } catch {
    // Over plain HTTP a browser has no clipboard for pages.
    copied = { text, label: "Press Ctrl+C" };
  }
  button.dispatchEvent(new CustomEvent("refresh", { bubbles: true }));
  setTimeout(() => {
    copied = null;
    dispatchEvent(new CustomEvent("refresh"));
  }, 4000);
}

// item is one thing to look at.
export function item(entry, heading = "h3") {
  return h("li", { class: `item ${entry.level}`, key: `${entry.title} ${entry.job ?? ""}` }, mark(entry.level),
    h("div", null,
      h(heading, null, entry.title),
      entry.text && h("p", { class: "said" }, entry.text),
      entry.todo && h("p", null, h("strong", null, "What to do: "), entry.todo),
      entry.command && commandLine(entry.command),
      entry.job && h("p", null, h("a", { href: jobLink(entry.job) }, "Look at the job"))));
}

export const jobLink = (id) => `#/jobs/${encodeURIComponent(id)}`;

// table makes cells that know their heading: on a narrow screen a row is a card.
export function table(caption, headings, rows, none) {
  if (rows.length === 0) return h("p", { class: "quiet" }, none);
  return h("table", null, h("caption", { class: "unseen" }, caption),
    h("thead", null, h("tr", null, headings.map((heading) => h("th", { scope: "col" }, heading)))),
    h("tbody", null, rows.map(({ key, cells }) => h("tr", { key }, cells.map((cell, i) => h("td", { "data-label": headings[i], class: cell === "" ? "void" : null }, h("div", null, cell)))))));
}

// choice is a select with a label.
export function choice(label, value, options, change) {
  return h("label", { class: "choice" }, label, " ",
    h("select", { value, onchange: (event) => change(event.currentTarget.value) }, options.map(([name, text]) => h("option", { value: name }, text))));
}

export const facts = (pairs) => h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false)
  .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
