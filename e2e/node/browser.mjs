// A headless Chromium for a test that speaks JSON, one line each way:
//
//   {"op":"open","url":"http://…","width":1280,"height":900,"scheme":"dark"}
//   {"op":"goto","url":"http://…"}               on the same page
//   {"op":"eval","script":"document.title"}      the value of an expression
//   {"op":"press","key":"Tab"}
//   {"op":"click","selector":"button"}
//   {"op":"shot","path":"page.png","selector":"article"}   of all that is visible without one
//   {"op":"stand","pattern":"**/v1/**","status":503,"body":"{}"}   stand before the server; without a status no more
//   {"op":"axe"}                                 what axe-core finds
//   {"op":"report"}                              what went wrong since the last report
//
// The answer is {"value":…} or {"error":"…"}.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.env.E2E_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let page;
let report = empty();

function empty() {
  return { console: [], errors: [], violations: [], hosts: [] };
}

async function open({ url, width = 1280, height = 900, scheme = "light", user, password }) {
  await page?.context().close();
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: scheme, timezoneId: "Europe/Berlin", locale: "en-GB", reducedMotion: "reduce",
    httpCredentials: password === undefined ? undefined : { username: user, password },
  });
  page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && report.console.push(message.text()));
  page.on("pageerror", (error) => report.errors.push(error.stack));
  page.on("request", (request) => {
    const { host } = new URL(request.url());
    if (!report.hosts.includes(host)) report.hosts.push(host);
  });
  await page.exposeFunction("noteViolation", (text) => report.violations.push(text));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => globalThis.noteViolation(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));
  });
  await page.goto(url);
}

const operations = {
  open,
  goto: ({ url }) => page.goto(url).then(() => null),
  eval: ({ script }) => page.evaluate(script),
  press: ({ key }) => page.keyboard.press(key),
  click: ({ selector }) => page.locator(selector).first().click({ timeout: 10_000 }),
  shot: ({ path, selector }) => (selector ? page.locator(selector).first() : page).screenshot({ path }).then(() => null),
  stand: ({ pattern, status, body }) =>
    status ? page.route(pattern, (route) => route.fulfill({ status, body, contentType: "application/problem+json" })).then(() => null) : page.unroute(pattern).then(() => null),
  async axe() {
    await page.evaluate(axe);
    const { violations } = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map((node) => node.html).join(" | ")}`);
  },
  report() {
    const told = report;
    report = empty();
    return told;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await operations[request.op](request)) ?? null };
  } catch (error) {
    answer = { error: String(error.message) };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
