// graphile-worker: the configuration of its own figures, on its page "Performance".
//
// That page: 24 concurrent jobs, a pool of 25, a local queue of 500, completions batched with a
// delay of 0. Success is not logged, as in its performance test. Jobs are enqueued with
// `addJobs()`, its bulk call ("Adding jobs through JavaScript"). It deletes finished jobs.

import { TEXT, WATCH, chunks, main } from "./watch.mjs";

process.env.NO_LOG_SUCCESS = "1"; // read while it is imported
const { Logger, makeWorkerUtils, run } = await import("graphile-worker");

const CONCURRENCY = 24;
const SETTINGS = {
  concurrentJobs: CONCURRENCY,
  maxPoolSize: CONCURRENCY + 1,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};
const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});

async function fill(url, jobs) {
  const utils = await makeWorkerUtils({ connectionString: url, logger });
  await utils.migrate();
  for (const size of chunks(jobs, 5000)) {
    const one = { identifier: "noop", payload: { text: TEXT } };
    await utils.addJobs(Array.from({ length: size }, () => one));
  }
  await utils.release();
}

async function work(url) {
  const taskList = { noop: () => WATCH.called() };
  await run({ preset: { worker: { ...SETTINGS, connectionString: url, logger } }, taskList });
}

await main({
  package: "graphile-worker",
  fill,
  work,
  anyLeft: "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)",
  countDone: "SELECT NULL", // it keeps nothing of a finished job
  concurrency: CONCURRENCY,
  settings: SETTINGS,
  documentation: "Performance; Adding jobs through JavaScript",
});
