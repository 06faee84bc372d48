// BullMQ: one worker with 100 jobs at a time, enqueued with `addBulk`, finished jobs removed.
// The clock is that of tally.py: from the first to the last call of the task function.

import { readFileSync } from "node:fs";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

const [phase, url, count, seconds] = process.argv.slice(2);
const jobs = Number(count);
const connection = new Redis(url, { maxRetriesPerRequest: null });
const text = "x".repeat(200 - '{"text":""}'.length);
const settings = { concurrency: 100, removeOnComplete: true };

async function fill() {
  const queue = new Queue("noop", { connection });
  const began = performance.now();
  for (let at = 0; at < jobs; at += 1000) {
    const size = Math.min(1000, jobs - at);
    const job = { name: "noop", data: { text }, opts: { removeOnComplete: true } };
    await queue.addBulk(Array.from({ length: size }, () => job));
  }
  console.log(JSON.stringify({ enqueue_seconds: (performance.now() - began) / 1000 }));
  process.exit(0);
}

let calls = 0;
let first = 0;
let last = 0;

async function noop() {
  last = performance.now();
  if (calls === 0) first = last;
  calls += 1;
  if (calls === jobs) report();
}

function report() {
  const path = new URL("./node_modules/bullmq/package.json", import.meta.url);
  const result = {
    version: JSON.parse(readFileSync(path, "utf8")).version,
    runtime: `Node.js ${process.versions.node}`,
    seconds: Math.max(last - first, 0.001) / 1000,
    task_calls: calls,
    settings,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}

if (phase === "fill") await fill();
else {
  setTimeout(report, Number(seconds) * 1000);
  new Worker("noop", noop, { connection, concurrency: settings.concurrency });
}
