// How fast the streams of running jobs are: the interface tells how far each is,
// and what is seen here over time is the rest.

const KEPT = 300; // seconds
const STEPS = [15, 30, 60, 120, 180, 240];
const BUCKET = 3; // seconds

export class Samples {
  constructor() {
    this.jobs = new Map();
  }

  // take notes where the streams of a job are at a moment in milliseconds.
  take(record, now) {
    if (record.state !== "running") return;
    const streams = this.jobs.get(record.job_id) ?? new Map();
    this.jobs.set(record.job_id, streams);
    for (const stream of record.streams ?? []) {
      const name = streamName(stream);
      const points = streams.get(name) ?? [];
      streams.set(name, points);
      const last = points.at(-1);
      if (last && stream.bytes < last.bytes) points.length = 0; // made once more
      if (points.length > 1 && now - points.at(-2).at < 1000) points.pop();
      points.push({ at: now, bytes: stream.bytes });
      while (points.length > 2 && points[1].at < now - KEPT * 1000) points.shift();
    }
  }

  // forget drops jobs that do not run any more.
  forget(running) {
    for (const id of this.jobs.keys()) if (!running.has(id)) this.jobs.delete(id);
  }

  // rate is that of the last seconds, in bytes a second; of a stream, or of all.
  rate(id, name, now, seconds = 10) {
    return this.lines(id, name).reduce((sum, points) => sum + moved(points, now - seconds * 1000, now), 0) / this.span(id, name, now, seconds);
  }

  // reach is how many seconds back there is something to be seen of a job, in steps.
  reach(id, now) {
    const begin = Math.min(now, ...this.lines(id).map((points) => points[0].at));
    return STEPS.find((seconds) => now - begin < seconds * 1000) ?? KEPT;
  }

  // series are the rates of the last seconds, oldest first.
  series(id, name, now, seconds) {
    const end = Math.floor(now / 1000 / BUCKET) * BUCKET * 1000;
    const lines = this.lines(id, name);
    const begin = Math.min(...lines.map((points) => points[0].at));
    const list = [];
    for (let to = end - seconds * 1000 + BUCKET * 1000; to <= end; to += BUCKET * 1000) {
      const from = to - BUCKET * 1000;
      if (to <= begin) continue;
      list.push({ ago: (end - to) / 1000, rate: lines.reduce((sum, points) => sum + moved(points, from, to), 0) / BUCKET });
    }
    return list;
  }

  lines(id, name) {
    const streams = this.jobs.get(id);
    if (!streams) return [];
    return name === undefined ? [...streams.values()] : [streams.get(name)].filter(Boolean);
  }

  // span is how many of the last seconds were seen.
  span(id, name, now, seconds) {
    const begin = Math.min(now - 1000, ...this.lines(id, name).map((points) => points[0].at));
    return Math.max(1, Math.min(seconds, (now - begin) / 1000));
  }
}

// moved is how many bytes passed between two moments.
function moved(points, from, to) {
  return position(points, to) - position(points, from);
}

function position(points, at) {
  if (at <= points[0].at) return points[0].bytes;
  const last = points.at(-1);
  if (at >= last.at) return last.bytes;
  const i = points.findIndex((point) => point.at >= at);
  const [a, b] = [points[i - 1], points[i]];
  return a.bytes + ((b.bytes - a.bytes) * (at - a.at)) / (b.at - a.at);
}

// streamName is that of a stream, by its file where several have the same id.
export const streamName = (stream) => (stream.file ? `${stream.volume_id}_${stream.part_id} ${stream.file}` : `${stream.volume_id}_${stream.part_id}`);
