// The schedule leg's refusals: each at the cheapest point at which it can be made.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";

import { worker } from "./built.mjs";

const KEY = Buffer.alloc(32, 7);
const armed = [];
const env = {
  SHARDS: ["main"],
  SCHEDULE_SECRETS: `whsec_${KEY.toString("base64")}`,
  SHARD: {
    idFromName: (name) => name,
    get: (name) => ({
      fetch: async () => {
        armed.push(name);
        return Response.json({ armed: 1, now: 1 });
      },
    }),
  },
};
const ENSURE = { type: "alarm.ensure", shard: "main", at: 1 };

/** What the Worker answers to a signed request. */
async function asked({ path = "/v1/shards/main/alarm", method = "POST", said = ENSURE, sign = true, headers = {}, to = env } = {}) {
  const body = JSON.stringify(said);
  const timestamp = String(Math.floor(Date.now() / 1000));
  const mac = createHmac("sha256", KEY).update(`m.${timestamp}.${body}`).digest("base64");
  const signature = sign ? { "webhook-id": "m", "webhook-timestamp": timestamp, "webhook-signature": `v1,${mac}` } : {};
  const length = { "content-length": String(Buffer.byteLength(body)) };
  const request = {
    url: `https://worker.test${path}`,
    method,
    headers: new Headers({ ...length, ...signature, ...headers }),
    read: false,
    async arrayBuffer() {
      this.read = true;
      return new TextEncoder().encode(body).buffer;
    },
  };
  armed.length = 0;
  const { status } = await worker.default.fetch(request, to);
  return { status, read: request.read, armed: armed.length };
}

test("a signed ensure for a shard of the list reaches its object", async () => {
  assert.deepEqual(await asked(), { status: 200, read: true, armed: 1 });
});

test("what is too large, or does not say how large it is, is not read", async () => {
  for (const [length, status] of [["4097", 413], ["99999999999", 413], ["", 411], ["many", 411], ["-1", 411]]) {
    assert.deepEqual(await asked({ headers: { "content-length": length } }), { status, read: false, armed: 0 });
  }
});

test("another path, method or name of a shard is not read", async () => {
  for (const path of ["/", "/v1/shards/main", "/v1/shards/a b/alarm", "/v1/shards/%2e%2e/alarm", "/v1/shards//alarm", `/v1/shards/${"a".repeat(101)}/alarm`]) {
    assert.deepEqual(await asked({ path }), { status: 404, read: false, armed: 0 }, path);
  }
  assert.deepEqual(await asked({ method: "GET" }), { status: 405, read: false, armed: 0 });
});

test("without a signature nothing is said about what is wrong", async () => {
  assert.equal((await asked({ sign: false })).status, 401);
  assert.equal((await asked({ sign: false, path: "/v1/shards/foreign/alarm" })).status, 401);
  assert.equal((await asked({ sign: false, said: "nonsense" })).status, 401);
  assert.equal((await asked({ to: { ...env, SCHEDULE_SECRETS: "" } })).status, 401);
});

test("a signed ensure for another shard than its path's, or a foreign one, arms nothing", async () => {
  const foreign = { ...ENSURE, shard: "foreign" };
  assert.deepEqual(await asked({ said: foreign }), { status: 400, read: true, armed: 0 });
  assert.deepEqual(await asked({ said: foreign, path: "/v1/shards/foreign/alarm" }), { status: 403, read: true, armed: 0 });
  assert.equal((await asked({ to: { ...env, SHARDS: "main" } })).status, 403);
  assert.equal((await asked({ said: { type: "workflow.tick" } })).status, 400);
});

test("an object that fails is a 500 without detail", async (t) => {
  t.mock.method(console, "error", () => {});
  const broken = { ...env, SHARD: { idFromName: String, get: () => ({ fetch: () => Promise.reject(new Error("away")) }) } };
  assert.equal((await asked({ to: broken })).status, 500);
});
