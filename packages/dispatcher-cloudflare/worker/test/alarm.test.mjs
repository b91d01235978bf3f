// The alarm: when it rings next, and that it always does. Time is node's mock, storage an object, the app a function.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { worker } from "./built.mjs";

const NOW = 1_800_000_000_000;
const MINUTE = 60_000;
const { backoffMs, ensureOf, nextAfter, outcomeOf, retryAfterOf, Shard } = worker;

class Storage {
  values = new Map();
  armed = null;
  async get(key) {
    return this.values.get(key);
  }
  async put(key, value) {
    this.values.set(key, value);
  }
  async getAlarm() {
    return this.armed;
  }
  async setAlarm(at) {
    this.armed = at;
  }
}

let storage;
let shard;
let ticks;
let answer;

beforeEach(() => {
  mock.timers.enable({ apis: ["Date"], now: NOW });
  mock.method(Math, "random", () => 1);
  mock.method(console, "warn", () => {});
  mock.method(console, "error", () => {});
  ticks = [];
  answer = () => Response.json({ processed: 1, next_due: null });
  mock.method(globalThis, "fetch", async (url, request) => {
    ticks.push({ url, ...request, said: JSON.parse(new TextDecoder().decode(request.body)) });
    return await answer();
  });
  storage = new Storage();
  const secret = `whsec_${Buffer.alloc(32).toString("base64")}`;
  shard = new Shard({ storage }, { TICK_URL: "https://app.test/tick", TICK_SECRETS: secret });
});

afterEach(() => {
  mock.restoreAll();
  mock.timers.reset();
});

async function ensure(at, name = "main") {
  const body = JSON.stringify({ shard: name, at });
  return await (await shard.fetch(new Request("https://shard/ensure", { method: "POST", body }))).json();
}

/** Rings as the runtime does: what was armed is no longer, when the handler begins. */
async function ring() {
  const scheduledTime = storage.armed;
  storage.armed = null;
  await shard.alarm({ scheduledTime, isRetry: false, retryCount: 0 });
}

test("an ensure arms no later than its time, and never later than before", async () => {
  assert.deepEqual(await ensure(NOW + 5000), { armed: NOW + 5000, now: NOW });
  assert.equal((await ensure(NOW + 9000)).armed, NOW + 5000);
  assert.equal((await ensure(NOW + 2000)).armed, NOW + 2000);
  assert.equal((await ensure(0)).armed, NOW);
  assert.equal(storage.armed, NOW);
});

test("ensures may come in any order and any number", async () => {
  const times = [7000, 3000, 9000, 3000].map((later) => NOW + later);
  for (const order of [times, times.toReversed()]) {
    storage.armed = null;
    for (const at of order) await ensure(at);
    assert.equal(storage.armed, NOW + 3000);
  }
});

test("a tick says who is meant, which one it is, and when it was due", async () => {
  await ensure(NOW + 1000);
  mock.timers.setTime(NOW + 1250);
  await ring();
  const [{ url, method, redirect, said }] = ticks;
  assert.deepEqual([url, method, redirect], ["https://app.test/tick", "POST", "manual"]);
  const times = { scheduled_at: NOW + 1000, fired_at: NOW + 1250 };
  assert.deepEqual(said, { type: "workflow.tick", aud: url, shard: "main", gen: 1, attempt: 0, ...times });
});

test("after a success it rings at what is due next, else at the heartbeat", async () => {
  for (const [due, expected] of [[null, 15 * MINUTE], [NOW + 4000, 4000], [NOW + 20 * MINUTE, 15 * MINUTE], [NOW - 5, 0]]) {
    await ensure(NOW);
    answer = () => Response.json({ processed: 1, next_due: due });
    await ring();
    assert.equal(storage.armed - NOW, expected);
  }
});

test("an ensure during the tick is kept, if it is earlier", async () => {
  for (const [during, expected] of [[2000, 2000], [9000, 4000]]) {
    await ensure(NOW);
    answer = async () => {
      await ensure(NOW + during);
      return Response.json({ processed: 1, next_due: NOW + 4000 });
    };
    await ring();
    assert.equal(storage.armed - NOW, expected);
  }
});

test("a tick that moved nothing, though something is due, is not repeated at once", async () => {
  const waits = [0, 1, 2, 3, 4, 5, 50].map((idle) => nextAfter({ processed: 0, nextDue: NOW - 1 }, NOW, MINUTE, idle) - NOW);
  assert.deepEqual(waits, [50, 100, 200, 400, 800, 1000, 1000]);
  assert.equal(nextAfter({ processed: 3, nextDue: NOW - 1 }, NOW, MINUTE), NOW);
  assert.equal(nextAfter({ processed: 0, nextDue: NOW + 5000 }, NOW, MINUTE), NOW + 5000);
  await ensure(NOW);
  answer = () => Response.json({ processed: 0, next_due: NOW });
  for (const expected of [50, 100, 200]) {
    await ring();
    assert.equal(storage.armed - NOW, expected);
  }
  answer = () => Response.json({ processed: 1, next_due: NOW });
  await ring();
  answer = () => Response.json({ processed: 0, next_due: NOW });
  await ring();
  assert.equal(storage.armed - NOW, 50);
});

test("a tick that finds nothing due does not put off what is due soon", async () => {
  assert.equal(nextAfter({ processed: 0, nextDue: NOW + 300 }, NOW, MINUTE), NOW + 300);
});

test("failures double the wait up to 300 s and never end; a success begins anew", async () => {
  await ensure(NOW);
  answer = () => new Response("no", { status: 500 });
  const waits = [];
  for (let n = 0; n < 12; n += 1) {
    await ring();
    waits.push((storage.armed - NOW) / 1000);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
  assert.deepEqual(ticks.map((tick) => [tick.said.gen, tick.said.attempt]).slice(0, 3), [[1, 0], [1, 1], [1, 2]]);
  answer = () => Response.json({ processed: 0, next_due: null });
  await ring();
  answer = () => new Response("no", { status: 500 });
  await ring();
  assert.equal(storage.armed - NOW, 1000);
  assert.deepEqual([ticks.at(-1).said.gen, ticks.at(-1).said.attempt], [2, 0]);
});

test("jitter takes up to half of the wait away", () => {
  assert.deepEqual([backoffMs(3, 0, 0), backoffMs(3, 0, 1)], [4000, 8000]);
  assert.equal(backoffMs(0, 7000, 0), 7000);
  assert.equal(backoffMs(5000, 0, 1), 300_000);
});

test("Retry-After is honoured, as seconds and as a date, up to a heartbeat", async () => {
  assert.equal(retryAfterOf("7", NOW), 7000);
  assert.equal(retryAfterOf(new Date(NOW + 9000).toUTCString(), NOW), 9000);
  assert.equal(retryAfterOf(new Date(NOW - 9000).toUTCString(), NOW), 0);
  assert.equal(retryAfterOf("99999999", NOW), 15 * MINUTE);
  for (const nothing of [null, "", "soon", "-5"]) assert.equal(retryAfterOf(nothing, NOW), 0);
  await ensure(NOW);
  answer = () => new Response(null, { status: 503, headers: { "retry-after": "40" } });
  await ring();
  assert.equal(storage.armed, NOW + 40_000);
});

test("410 ends the ticks until the next ensure", async () => {
  await ensure(NOW);
  answer = () => new Response(null, { status: 410 });
  await ring();
  assert.equal(storage.armed, null);
  await ensure(NOW + 1);
  assert.equal(storage.armed, NOW + 1);
});

test("an ensure that comes while the app says 410 counts", async () => {
  await ensure(NOW);
  answer = async () => {
    await ensure(NOW + 10);
    return new Response(null, { status: 410 });
  };
  await ring();
  assert.equal(storage.armed, NOW + 10);
});

test("the alarm never throws and is always armed again, whatever the app does", async () => {
  const worst = [
    () => Promise.reject(new TypeError("connection refused")),
    () => Promise.reject(new DOMException("timed out", "TimeoutError")),
    () => new Response(null, { status: 302, headers: { location: "https://elsewhere.test" } }),
    () => new Response("<html>Sign in</html>", { status: 200 }),
    () => new Response(null, { status: 204 }),
    () => Response.json({ processed: 1 }),
    () => Response.json({ processed: "1", next_due: null }),
    () => Response.json({ processed: 1, next_due: "soon" }),
    () => Response.json([]),
    () => new Response("9".repeat(100_000)),
    () => new Response(new ReadableStream({ pull: (stream) => stream.error(new Error("cut off")) })),
    () => {
      throw new Error("a defect");
    },
  ];
  for (const each of worst) {
    await ensure(NOW);
    answer = each;
    await ring();
    assert.ok(storage.armed > NOW, String(each));
    assert.ok(storage.armed <= NOW + 300_000, String(each));
  }
  assert.equal(ticks.length, worst.length);
});

test("storage that fails for a moment does not end the alarm", async () => {
  await ensure(NOW);
  mock.method(storage, "get", () => Promise.reject(new Error("storage is away")), { times: 1 });
  await ring();
  assert.equal(storage.armed, NOW + 300_000);
});

test("an object that was never named has nobody to call", async () => {
  await ring();
  assert.equal(ticks.length, 0);
  assert.equal(storage.armed, null);
});

test("every status outside 2xx and 410 is a failure", async () => {
  for (const status of [301, 302, 307, 400, 401, 403, 404, 409, 429, 500, 502, 503, 504]) {
    assert.equal((await outcomeOf(new Response(null, { status }), NOW)).kind, "failed", String(status));
  }
});

test("an ensure is of one form only", () => {
  const read = (value) => ensureOf(new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value)));
  const good = { type: "alarm.ensure", shard: "main", at: NOW };
  assert.deepEqual(read(good), { shard: "main", at: NOW });
  for (const bad of [
    "", "[]", "null", "7", "{", {}, { ...good, type: "workflow.tick" }, { ...good, shard: 7 }, { ...good, at: "soon" },
    { ...good, at: -1 }, { ...good, at: 1.5 }, { ...good, at: 9e15 }, { ...good, at: null },
  ]) {
    assert.equal(read(bad), null, JSON.stringify(bad));
  }
});
