// Standard Webhooks signatures: what is accepted, and above all what is not.
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { test } from "node:test";

import { worker } from "./built.mjs";

const NOW = 1_800_000_000_000;
const SECRET = secret();
const OTHER = secret();
const BODY = new TextEncoder().encode('{"type":"alarm.ensure"}');

function secret(bytes = 32) {
  return `whsec_${randomBytes(bytes).toString("base64")}`;
}

/** Signs with node's own HMAC, so that the Worker is not its own judge. */
function signed({ key = SECRET, at = NOW / 1000, id = "m-1", body = BODY, timestamp = String(at) } = {}) {
  const raw = Buffer.from(key.slice("whsec_".length), "base64");
  const mac = createHmac("sha256", raw).update(`${id}.${timestamp}.`).update(body).digest("base64");
  return new Headers({ "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": `v1,${mac}` });
}

const accepts = (headers, { body = BODY, secrets = SECRET } = {}) => worker.isSigned(body, headers, secrets, NOW);

test("what one of the secrets signed is accepted", async () => {
  assert.equal(await accepts(signed()), true);
  assert.equal(await accepts(signed(), { secrets: `${OTHER}\n ${SECRET}` }), true);
});

test("one valid signature among several is enough, unknown versions are passed over", async () => {
  const headers = signed();
  headers.set("webhook-signature", `v1a,zzz v1,AAAA ${headers.get("webhook-signature")}`);
  assert.equal(await accepts(headers), true);
});

test("another key, another body, another id or another time is refused", async () => {
  assert.equal(await accepts(signed({ key: OTHER })), false);
  assert.equal(await accepts(signed(), { body: new TextEncoder().encode("{}") }), false);
  for (const [name, value] of [["webhook-id", "m-2"], ["webhook-timestamp", String(NOW / 1000 - 1)]]) {
    const headers = signed();
    headers.set(name, value);
    assert.equal(await accepts(headers), false);
  }
});

test("300 s of age or of future are accepted, a second more is not", async () => {
  for (const [age, expected] of [[300, true], [301, false], [-300, true], [-301, false]]) {
    assert.equal(await accepts(signed({ at: NOW / 1000 - age })), expected, `${age} s`);
  }
});

test("missing and malformed headers are refused, never an error", async () => {
  for (const name of ["webhook-id", "webhook-timestamp", "webhook-signature"]) {
    const headers = signed();
    headers.delete(name);
    assert.equal(await accepts(headers), false, `without ${name}`);
  }
  for (const timestamp of ["soon", "-1", "1e9", "NaN", "9".repeat(40)]) {
    assert.equal(await accepts(signed({ timestamp })), false, timestamp);
  }
  for (const signature of ["", "v1", "v1,", "v1,***", "v2,AAAA", " "]) {
    const headers = signed();
    headers.set("webhook-signature", signature);
    assert.equal(await accepts(headers), false, signature);
  }
});

test("without a secret nothing is accepted", async () => {
  for (const secrets of [null, "", "  ", "whsec_", "whsec_***", secret(8), "secret"]) {
    assert.equal(await accepts(signed(), { secrets }), false, secrets);
    assert.equal((await worker.keysOf(secrets)).length, 0);
  }
});

test("a message carries a signature of each secret", async () => {
  const message = { id: "m-1", timestamp: String(NOW / 1000), body: BODY };
  const headers = await worker.signatureHeaders(message, `${SECRET} ${OTHER}`);
  assert.equal(headers["webhook-signature"].split(" ").length, 2);
  assert.equal(headers["webhook-signature"].split(" ")[0], signed().get("webhook-signature"));
  assert.equal(await accepts(new Headers(headers), { secrets: OTHER }), true);
});
