// What the Node.js peers share: the two phases of a program, and the clock. The clock is that of
// watch.py, which describes it: from the first call of the task function until no job is left.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

// 200 bytes of arguments as JSON, as `turnout bench`.
export const TEXT = "x".repeat(200 - '{"text":""}'.length);

export class Watch {
  first = 0;
  calls = 0;
  jobs = -1;
  #tellAllCalled;
  #allCalled = new Promise((resolve) => (this.#tellAllCalled = resolve));

  /** Note `count` calls of the task function. */
  called(count = 1) {
    if (this.calls === 0) this.first = performance.now();
    this.calls += count;
    if (this.calls >= this.jobs) this.#tellAllCalled();
  }

  /** Wait until all is recorded, print the result, and end this process as it is. */
  async report(peer, url) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const ask = async (sql) => Object.values((await client.query(sql)).rows[0])[0];
    await this.#allCalled;
    let asked = performance.now();
    while (await ask(peer.anyLeft)) {
      await sleep(2);
      asked = performance.now();
    }
    const done = await ask(peer.countDone);
    const result = {
      version: versionOf(peer.package),
      runtime: `Node.js ${process.versions.node}`,
      concurrency: peer.concurrency,
      seconds: Number(((asked - this.first) / 1000).toFixed(4)),
      task_calls: this.calls,
      recorded_done: done === null ? null : Number(done),
      settings: peer.settings,
      documentation: peer.documentation,
    };
    process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
  }
}

export const WATCH = new Watch();

/** Run the phase that the command line names. */
export async function main(peer) {
  const [phase, url, jobs] = process.argv.slice(2);
  if (phase === "fill") {
    await peer.fill(url, Number(jobs));
    return;
  }
  WATCH.jobs = Number(jobs);
  await Promise.all([WATCH.report(peer, url), peer.work(url)]);
}

/** Return the sizes of the bulk calls that enqueue so many jobs. */
export function chunks(jobs, size) {
  const sizes = [];
  for (let at = 0; at < jobs; at += size) sizes.push(Math.min(size, jobs - at));
  return sizes;
}

function versionOf(name) {
  // not through the package, which need not export its package.json
  const path = new URL(`./node_modules/${name}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(path, "utf8")).version;
}
