// Runs a client script (../testdata/clientscript.json) with npm hdb against an
// address of SYSTEMDB:
//
//   node script.mjs --addr 127.0.0.1:39013 --user SYSTEM --password-file FILE --dir DIR --script FILE
//
// Prints one line per step. Exits 0 when every step saw what the script says,
// 1 at the first that did not, 2 when it cannot run.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual, parseArgs } from "node:util";
import hdb from "hdb";

const wanted = ["addr", "user", "password-file", "dir", "script"];
const { values: args } = parseArgs({
  options: Object.fromEntries(wanted.map((name) => [name, { type: "string" }])),
});
for (const name of wanted) {
  if (!args[name]) {
    console.error(`script.mjs: --${name} is missing`);
    process.exit(2);
  }
}

const [host, port] = args.addr.split(":");
const password = readFileSync(args["password-file"], "utf8").trim();
const clients = new Map();

// call turns the driver's callbacks into a promise.
const call = (start) =>
  new Promise((resolve, reject) => start((err, result) => (err ? reject(err) : resolve(result))));

const fill = (text) => text.replaceAll("${dir}", args.dir);

// cell gives a value the form that the script is written in.
function cell(value) {
  if (value === null || value === undefined) return null;
  if (Buffer.isBuffer(value)) return value.toString("utf8");
  return String(value);
}

function matches(got, want) {
  if (want !== null && typeof want === "object") {
    return got !== null && new RegExp(`^(?:${want.like})$`).test(got);
  }
  return got === (want === null ? null : fill(want));
}

async function connect(step) {
  const client = hdb.createClient({
    host,
    port: Number(port),
    databaseName: step.database,
    user: args.user,
    password: step.password ?? password,
  });
  client.on("error", () => {}); // the pending call reports it too
  await call((done) => client.connect(done));
  clients.set(step.connect, client);
}

// query executes directly without arguments and prepares with them: two
// different conversations on the wire. A direct result without rows has no
// columns to show, so the script's own stand in for them.
async function query(step) {
  const client = clients.get(step.on);
  if (!step.arguments) {
    const rows = await call((done) => client.exec(step.query, done));
    const columns = rows.length > 0 ? Object.keys(rows[0]) : step.columns;
    return { columns, rows: rows.map((row) => Object.values(row).map(cell)) };
  }
  const statement = await call((done) => client.prepare(step.query, done));
  try {
    const rows = await call((done) => statement.exec(step.arguments, { rowsAsArray: true }, done));
    const columns = statement.resultSetMetadata.map((column) => column.columnDisplayName);
    return { columns, rows: rows.map((row) => row.map(cell)) };
  } finally {
    await call((done) => statement.drop(done));
  }
}

async function run(step) {
  if (step.connect) return connect(step);
  if (step.close) return clients.get(step.close).end();
  if (step.exec) return call((done) => clients.get(step.on).exec(fill(step.exec), done));
  const { columns, rows } = await query(step);
  const same =
    isDeepStrictEqual(columns, step.columns) &&
    rows.length === (step.count ?? step.rows.length) &&
    (step.rows ?? []).every((want, i) => rows[i].length === want.length && rows[i].every((got, j) => matches(got, want[j])));
  if (!same) {
    throw new Error(`got columns ${JSON.stringify(columns)} and ${rows.length} rows ${JSON.stringify(rows.slice(0, 10))}`);
  }
}

async function check(step) {
  try {
    await run(step);
  } catch (err) {
    if (step.error !== undefined && err.code === step.error) return;
    throw err;
  }
  if (step.error !== undefined) throw new Error(`succeeded, expected error ${step.error}`);
}

for (const step of JSON.parse(readFileSync(args.script, "utf8")).steps) {
  try {
    await check(step);
    console.log(`ok: ${step.step}`);
  } catch (err) {
    console.error(`FAILED: ${step.step}: ${err.code ?? ""} ${err.message}`);
    for (const client of clients.values()) client.end();
    process.exit(1);
  }
}
