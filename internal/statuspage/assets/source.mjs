// What the daemon tells. Records of jobs come by themselves; what costs a look at
// the store is asked for when a job has ended, and every few minutes.

const SILENCE = 50_000; // three heartbeats and a little
const LOGS_EVERY = 20_000; // and the daemon itself, which may have been drained
const STORE_EVERY = 300_000;
const POLL_EVERY = 5_000;
const HIDDEN = 60_000;
const ANSWER = 40_000; // the daemon gives up before
const RECOVERY = 110_000; // this, too

export class Source {
  constructor(changed, announce) {
    this.changed = changed;
    this.announce = announce;
    this.daemon = null;
    this.firstVersion = null;
    this.offset = 0; // of the daemon's clock
    this.jobs = new Map();
    this.backups = null;
    this.unreadable = []; // manifests of backups that are in no list
    this.logs = null;
    this.logsTrouble = "";
    this.logsNote = "";
    this.recovery = new Map(); // by database: {data} or {problem}
    this.problems = {}; // by path: why it could not be read
    this.connection = { state: "connecting", since: Date.now() };
    this.attempts = 0;
    this.looking = false;
    this.onRecord = () => {};
  }

  // away says that the backups are not known because the store could not be asked.
  get away() {
    return this.backups === null && this.problems["v1/backups"] !== undefined;
  }

  now() {
    return Date.now() + this.offset;
  }

  // start never ends.
  start() {
    this.connect();
    setInterval(() => this.watch(), 1000);
    setInterval(() => {
      if (this.connection.state === "live" && !document.hidden) this.readDaemon();
      this.readLogs();
    }, LOGS_EVERY);
    setInterval(() => this.lookAtStore(), STORE_EVERY);
    document.addEventListener("visibilitychange", () => this.visible());
  }

  connect() {
    this.close();
    const events = new EventSource("v1/events");
    this.events = events;
    this.heard = Date.now();
    events.onopen = () => this.opened();
    events.onerror = () => this.events === events && this.broken();
    events.addEventListener("heartbeat", () => (this.heard = Date.now()));
    events.addEventListener("record", (event) => {
      this.heard = Date.now();
      this.take(JSON.parse(event.data));
    });
  }

  close() {
    clearTimeout(this.retry);
    this.events?.close();
    this.events = null;
  }

  // opened reads what was missed: of a job that ended meanwhile no event comes.
  async opened() {
    this.attempts = 0;
    const lost = this.connection.state === "lost";
    this.enter("live");
    if (lost) this.announce("The daemon answers again.");
    await this.readAll();
  }

  // broken asks why: an EventSource does not tell.
  async broken() {
    this.close();
    if (this.connection.state === "live") this.enter("lost", { text: "the event stream broke off" });
    const problem = (await this.readDaemon()) ?? (await this.readJobs());
    if (problem?.status === 401 || problem?.status === 403) this.enter("refused", problem);
    else if (problem) this.enter("lost", problem);
    else this.enter("polling");
    if (this.connection.state === "polling") this.readLogs();
    const pause = problem ? Math.min(1000 * 2 ** this.attempts, 10_000) : POLL_EVERY;
    this.attempts++;
    this.retryAt = Date.now() + pause;
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.connect(), pause);
  }

  enter(state, problem) {
    if (state !== this.connection.state) {
      if (state === "lost") this.announce("The connection to the daemon is lost.");
      this.connection = { state, since: Date.now() };
    }
    this.connection.problem = problem;
    this.changed();
  }

  watch() {
    if (this.events && Date.now() - this.heard > SILENCE) this.broken();
    else this.changed();
  }

  // visible gives the connection back while nobody looks: a browser has six for
  // each daemon, however many pages are open.
  visible() {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => this.close(), HIDDEN);
    else if (!this.events) this.connect();
    else if (!this.backups) this.lookAtStore();
  }

  take(record) {
    const known = this.jobs.get(record.job_id);
    if (known && known.state !== "running" && record.state === "running") return;
    this.jobs.set(record.job_id, record);
    this.onRecord(record);
    if (known?.state === "running" && record.state !== "running") {
      this.announce(`The ${record.action} of ${record.database} has ended: ${record.state}.`);
      this.lookSoon();
    }
    this.changed();
  }

  // lookSoon gives several pages that see the end of a job moments of their own.
  lookSoon() {
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.lookAtStore(), 300 + Math.random() * 1500);
  }

  async readAll() {
    await Promise.all([this.readDaemon(), this.readJobs(), this.readLogs()]);
    await this.lookAtStore();
  }

  async readDaemon() {
    const asked = Date.now();
    return this.read("v1/daemon", (daemon) => {
      this.daemon = daemon;
      this.firstVersion ??= daemon.version;
      this.offset = Date.parse(daemon.time) - (asked + Date.now()) / 2;
    });
  }

  async readJobs() {
    return this.read("v1/jobs", ({ jobs }) => {
      const listed = new Set(jobs.map((record) => record.job_id));
      for (const [id, record] of this.jobs) if (!listed.has(id) && record.state !== "running") this.jobs.delete(id);
      for (const record of jobs) this.take(record);
    });
  }

  async readLogs() {
    if (this.connection.state === "lost" || document.hidden) return null;
    return this.read("v1/logs", ({ logs, trouble, note }) => {
      this.logs = logs;
      this.logsTrouble = trouble ?? "";
      this.logsNote = note ?? "";
    });
  }

  // lookAtStore reads the list of backups and, one database after the other, to
  // which points those can be restored that have any.
  async lookAtStore() {
    if (this.looking || document.hidden) return;
    this.looking = true;
    this.changed();
    await this.readLogs();
    await this.read("v1/backups", ({ backups, unreadable }) => {
      this.backups = backups;
      this.unreadable = unreadable ?? [];
    });
    for (const database of this.databases([this.backups ?? [], this.unreadable, this.logs ?? []])) {
      const path = `v1/recovery?database=${encodeURIComponent(database)}`;
      const problem = await this.read(path, (data) => this.recovery.set(database, { data, at: this.now() }));
      delete this.problems[path];
      if (problem) this.recovery.set(database, { ...this.recovery.get(database), problem });
    }
    this.looking = false;
    this.changed();
  }

  // databases are all that anything is known of, or that are in lists, SYSTEMDB
  // first.
  databases(lists = [[...this.jobs.values()], this.backups ?? [], this.unreadable, this.logs ?? []]) {
    const names = new Set(lists.flat().map((entry) => entry.database));
    return [...names].sort((a, b) => (b === "SYSTEMDB") - (a === "SYSTEMDB") || a.localeCompare(b));
  }

  // read asks the daemon and returns the problem, or null.
  async read(path, use) {
    try {
      let response = await ask(path);
      if (response.status === 429) {
        // The limit is of all pages and programs with the same token.
        await new Promise((resolve) => setTimeout(resolve, Math.min(5, Number(response.headers.get("Retry-After")) || 1) * 1000));
        response = await ask(path);
      }
      if (!response.ok) throw await problemOf(response);
      use(await response.json());
      delete this.problems[path];
      return null;
    } catch (problem) {
      this.problems[path] = { status: problem.status ?? 0, text: problem.text ?? problem.message, hint: problem.hint };
      return this.problems[path];
    } finally {
      this.changed();
    }
  }
}

function ask(path) {
  const patience = path.startsWith("v1/recovery") ? RECOVERY : ANSWER;
  return fetch(path, { cache: "no-store", signal: AbortSignal.timeout(patience) });
}

async function problemOf(response) {
  const problem = { status: response.status, text: `${response.status} ${response.statusText}`.trim() };
  try {
    const told = await response.json();
    problem.text = told.detail ?? told.title ?? problem.text;
    problem.hint = told.hint;
  } catch {
    // The status says it.
  }
  return problem;
}
