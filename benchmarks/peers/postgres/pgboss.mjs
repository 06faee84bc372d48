// pg-boss: workers that fetch in batches and do not pause while batches come back full.
//
// Its page "Workers": by default `work()` fetches one job every 2 seconds. `batchSize` fetches and
// completes that many with one statement each, `localConcurrency` runs several such workers in this
// process, `burstWhenBatchFull` fetches on without a pause. Of batches of 100 to 2,000 and 1 to 10
// workers, 1,000 and 4 were the best here. Jobs are enqueued with `insert()`, its bulk call (page
// "Jobs"). Finished jobs are kept for a week, its default.

import { PgBoss } from "pg-boss";
import { TEXT, WATCH, chunks, main } from "./watch.mjs";

const QUEUE = "noop";
const BATCH = 1000;
const WORKERS = 4;

async function start(url) {
  const boss = new PgBoss(url);
  boss.on("error", console.error);
  await boss.start();
  return boss;
}

async function fill(url, jobs) {
  const boss = await start(url);
  await boss.createQueue(QUEUE);
  for (const size of chunks(jobs, 5000)) {
    await boss.insert(QUEUE, Array.from({ length: size }, () => ({ data: { text: TEXT } })));
  }
  await boss.stop({ graceful: false });
}

async function work(url) {
  const boss = await start(url);
  const options = { batchSize: BATCH, localConcurrency: WORKERS, burstWhenBatchFull: true };
  await boss.work(QUEUE, { ...options, pollingIntervalSeconds: 0.5 }, async (jobs) => {
    for (const job of jobs) noop(job.data);
  });
}

function noop() {
  WATCH.called();
}

await main({
  package: "pg-boss",
  fill,
  work,
  anyLeft: "SELECT EXISTS (SELECT FROM pgboss.job WHERE name = 'noop' AND state <> 'completed')",
  countDone: "SELECT count(*) FROM pgboss.job WHERE name = 'noop' AND state = 'completed'",
  concurrency: WORKERS,
  settings: {
    batchSize: BATCH,
    localConcurrency: WORKERS,
    burstWhenBatchFull: true,
    pollingIntervalSeconds: 0.5,
  },
  documentation: "API: Workers; API: Jobs",
});
