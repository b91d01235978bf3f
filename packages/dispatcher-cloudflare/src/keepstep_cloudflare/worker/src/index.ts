/**
 * The alarm clock of a keepstep app: one Durable Object for each shard, whose alarm POSTs a signed tick to the app.
 *
 *   app ──alarm.ensure──▶ Worker ──▶ Shard ──(alarm)── workflow.tick ──▶ app
 *
 * The app's database knows all timers; an alarm is only a promise to ask no later than some instant. So every message
 * may be lost, doubled or late: the answer to each tick says when to ask next, and a heartbeat bounds what is lost.
 * No workflow and no decision about one may live here.
 */

const SHARD = /^[A-Za-z0-9_-]{1,100}$/;
const ROUTE = /^\/v1\/shards\/([^/]+)\/alarm$/;
const BODY_BYTES_MAX = 4096;
const INSTANT_MAX = 8.64e15;
const TOLERANCE_S = 300;
const SECRET_BYTES_MIN = 24;

const HEARTBEAT_MS = 900_000;
const TICK_TIMEOUT_MS = 25_000;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 300_000;
/** A tick that found nothing, though something is due, came before the app's clock, or while others were at it. */
const NO_PROGRESS_MS = 50;
const NO_PROGRESS_MAX_MS = 1_000;

export interface Env {
  /** The Durable Objects, by shard name. */
  SHARD: DurableObjectNamespace;
  /** The shards that this Worker serves. */
  SHARDS: string[];
  /** Where ticks go: configuration, never taken from a request. */
  TICK_URL: string;
  /** Separated by blanks; one of them has signed what the app sends. */
  SCHEDULE_SECRETS: string;
  /** Separated by blanks; each of them signs every tick. */
  TICK_SECRETS: string;
  /** Asks at least this often. Optional. */
  HEARTBEAT_MS?: number;
  /** How long a tick may take. Optional. */
  TICK_TIMEOUT_MS?: number;
}

// --- signatures: Standard Webhooks, HMAC-SHA256 over "id.timestamp.body"

export interface Signed {
  id: string;
  timestamp: string;
  body: Uint8Array;
}

/** The keys in a list of secrets; what is no secret is left out. */
export async function keysOf(secrets: string | undefined): Promise<CryptoKey[]> {
  const keys: CryptoKey[] = [];
  for (const secret of (secrets ?? "").split(/\s+/)) {
    const raw = secret.startsWith("whsec_") ? bytesOf(secret.slice("whsec_".length)) : null;
    if (raw === null || raw.length < SECRET_BYTES_MIN) continue;
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    keys.push(await crypto.subtle.importKey("raw", raw, algorithm, false, ["sign", "verify"]));
  }
  return keys;
}

/** The three headers of a message, with one signature of each secret. */
export async function signatureHeaders(message: Signed, secrets: string): Promise<Record<string, string>> {
  const signatures: string[] = [];
  for (const key of await keysOf(secrets)) {
    const signature = await crypto.subtle.sign("HMAC", key, signedBytes(message));
    signatures.push(`v1,${btoa(String.fromCharCode(...new Uint8Array(signature)))}`);
  }
  return {
    "webhook-id": message.id,
    "webhook-timestamp": message.timestamp,
    "webhook-signature": signatures.join(" "),
  };
}

/** Whether one of the secrets signed this body, not more than 300 s ago or ahead; `verify` takes constant time. */
export async function isSigned(body: Uint8Array, headers: Headers, secrets: string, now: number): Promise<boolean> {
  const id = headers.get("webhook-id");
  const timestamp = headers.get("webhook-timestamp") ?? "";
  if (!id || !/^\d{1,12}$/.test(timestamp)) return false;
  if (Math.abs(now / 1000 - Number(timestamp)) > TOLERANCE_S) return false;
  const data = signedBytes({ id, timestamp, body });
  const given = (headers.get("webhook-signature") ?? "").split(" ").filter((each) => each.startsWith("v1,"));
  for (const key of await keysOf(secrets)) {
    for (const signature of given) {
      const raw = bytesOf(signature.slice("v1,".length));
      if (raw !== null && (await crypto.subtle.verify("HMAC", key, raw, data))) return true;
    }
  }
  return false;
}

function signedBytes({ id, timestamp, body }: Signed): Uint8Array {
  const head = new TextEncoder().encode(`${id}.${timestamp}.`);
  const whole = new Uint8Array(head.length + body.length);
  whole.set(head);
  whole.set(body, head.length);
  return whole;
}

function bytesOf(base64: string): Uint8Array | null {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}

// --- the schedule leg: app → Worker

interface Ensure {
  shard: string;
  at: number;
}

class Refusal extends Error {
  constructor(readonly status: number) {
    super(String(status));
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    try {
      const { shard, at } = await readEnsure(request, env);
      const object = env.SHARD.get(env.SHARD.idFromName(shard));
      return await object.fetch("https://shard/ensure", { method: "POST", body: JSON.stringify({ shard, at }) });
    } catch (error) {
      if (error instanceof Refusal) return new Response(null, { status: error.status });
      console.error("an ensure failed:", String(error));
      return new Response(null, { status: 500 });
    }
  },
} satisfies ExportedHandler<Env>;

/** What a request asks for. Cheap refusals come first: nothing is read before its size, nor parsed before its signature. */
async function readEnsure(request: Request, env: Env): Promise<Ensure> {
  const named = ROUTE.exec(new URL(request.url).pathname)?.[1];
  if (named === undefined || !SHARD.test(named)) throw new Refusal(404);
  if (request.method !== "POST") throw new Refusal(405);
  const declared = request.headers.get("content-length");
  if (declared === null || !/^\d+$/.test(declared)) throw new Refusal(411);
  if (Number(declared) > BODY_BYTES_MAX) throw new Refusal(413);
  const body = new Uint8Array(await request.arrayBuffer());
  if (!(await isSigned(body, request.headers, env.SCHEDULE_SECRETS, Date.now()))) throw new Refusal(401);
  const ensure = ensureOf(body);
  if (ensure === null || ensure.shard !== named) throw new Refusal(400);
  if (!Array.isArray(env.SHARDS) || !env.SHARDS.includes(ensure.shard)) throw new Refusal(403);
  return ensure;
}

export function ensureOf(body: Uint8Array): Ensure | null {
  const said = jsonOf(new TextDecoder().decode(body));
  const { type, shard, at } = said ?? {};
  if (type !== "alarm.ensure" || typeof shard !== "string" || !isInstant(at)) return null;
  return { shard, at };
}

// --- the tick leg: Durable Object → app

/** What a tick that succeeded says. */
interface Done {
  processed: number;
  nextDue: number | null;
}

/** What came of a tick. */
export type Outcome =
  | ({ kind: "done" } & Done)
  | { kind: "failed"; why: string; retryAfterMs: number }
  | { kind: "gone" };

/** Ticks that succeeded before this one, plus one; how often this one has failed; how many before it moved nothing. */
interface Progress {
  gen: number;
  attempt: number;
  idle?: number;
}

export class Shard implements DurableObject {
  constructor(
    private readonly state: DurableObjectState,
    private readonly env: Env,
  ) {}

  /** Called by this Worker alone: wake no later than `at`. */
  async fetch(request: Request): Promise<Response> {
    const { shard, at } = await request.json<Ensure>();
    const now = Date.now();
    const storage = this.state.storage;
    if ((await storage.get("shard")) !== shard) await storage.put("shard", shard);
    const current = await storage.getAlarm();
    let armed = Math.max(at, now);
    if (current !== null && current <= armed) armed = current;
    else await storage.setAlarm(armed);
    return Response.json({ armed, now });
  }

  /**
   * Ticks, and arms itself again whatever came of it: a runtime gives up an alarm that throws.
   *
   * The one thing that is thrown is a storage that refuses to arm. Then the runtime's own retries are what is left.
   */
  async alarm(info?: AlarmInvocationInfo): Promise<void> {
    let next: number | null = Date.now() + BACKOFF_MAX_MS;
    try {
      next = await this.tick(info?.scheduledTime);
    } catch (error) {
      console.error("a tick broke off:", String(error));
    }
    const meanwhile = await this.state.storage.getAlarm();
    if (next !== null && (meanwhile === null || next < meanwhile)) await this.state.storage.setAlarm(next);
  }

  /** Ticks once; when to tick again, or null when the app is gone. */
  private async tick(scheduledAt: number | undefined): Promise<number | null> {
    const storage = this.state.storage;
    const shard = await storage.get<string>("shard"); // a restarted object may not know its name
    if (shard === undefined) return null;
    const progress = (await storage.get<Progress>("progress")) ?? { gen: 1, attempt: 0 };
    const outcome = await this.post(shard, progress, scheduledAt);
    const now = Date.now();
    switch (outcome.kind) {
      case "done": {
        const idle = progress.idle ?? 0;
        const stuck = isStuck(outcome, now) ? idle + 1 : 0;
        await storage.put<Progress>("progress", { gen: progress.gen + 1, attempt: 0, idle: stuck });
        return nextAfter(outcome, now, this.env.HEARTBEAT_MS ?? HEARTBEAT_MS, idle);
      }
      case "gone":
        console.warn(`shard ${shard}: the app is gone; the next ensure arms it again`);
        await storage.put<Progress>("progress", { ...progress, attempt: 0 });
        return null;
      case "failed": {
        await storage.put<Progress>("progress", { ...progress, attempt: progress.attempt + 1 });
        const delay = backoffMs(progress.attempt, outcome.retryAfterMs, Math.random());
        console.warn(`shard ${shard}: tick ${progress.gen} failed (${outcome.why}); again in ${delay} ms`);
        return now + delay;
      }
    }
  }

  private async post(shard: string, progress: Progress, scheduledAt: number | undefined): Promise<Outcome> {
    const { TICK_URL, TICK_SECRETS, TICK_TIMEOUT_MS: timeout = TICK_TIMEOUT_MS } = this.env;
    const firedAt = Date.now();
    const times = { scheduled_at: scheduledAt ?? firedAt, fired_at: firedAt };
    const { gen, attempt } = progress;
    const tick = { type: "workflow.tick", aud: TICK_URL, shard, gen, attempt, ...times };
    const body = new TextEncoder().encode(JSON.stringify(tick));
    const message = { id: `tick_${shard}_${progress.gen}`, timestamp: String(Math.floor(firedAt / 1000)), body };
    const headers = { "content-type": "application/json", ...(await signatureHeaders(message, TICK_SECRETS)) };
    const signal = AbortSignal.timeout(timeout);
    try {
      const response = await fetch(TICK_URL, { method: "POST", headers, body, redirect: "manual", signal });
      return await outcomeOf(response, Date.now());
    } catch (error) {
      return { kind: "failed", why: String(error), retryAfterMs: 0 };
    }
  }
}

/** What an answer means. A 2xx that cannot be read counts as a failure: it does not say when to ask next. */
export async function outcomeOf(response: Response, now: number): Promise<Outcome> {
  if (!response.ok) {
    await response.body?.cancel();
    if (response.status === 410) return { kind: "gone" };
    const retryAfterMs = retryAfterOf(response.headers.get("retry-after"), now);
    return { kind: "failed", why: `it answers ${response.status}`, retryAfterMs };
  }
  const { processed, next_due: nextDue } = jsonOf(await textOf(response)) ?? {};
  const isRead = typeof processed === "number" && (nextDue === null || isInstant(nextDue));
  return isRead ? { kind: "done", processed, nextDue } : { kind: "failed", why: "an answer that says nothing", retryAfterMs: 0 };
}

/**
 * When to tick after one that succeeded: at what is due next, and at the heartbeat in any case.
 *
 * What is due and did not move may be another's for a while, or due by this clock and not yet by the database's: ticks
 * that find it so again and again, `idle` of them before this one, come further and further apart.
 */
export function nextAfter(done: Done, now: number, heartbeat: number, idle = 0): number {
  if (done.nextDue === null) return now + heartbeat;
  const stuck = isStuck(done, now) ? now + Math.min(NO_PROGRESS_MS * 2 ** Math.min(idle, 20), NO_PROGRESS_MAX_MS) : now;
  return Math.min(Math.max(done.nextDue, stuck), now + heartbeat);
}

function isStuck(done: Done, now: number): boolean {
  return done.processed === 0 && done.nextDue !== null && done.nextDue <= now;
}

/** How long to wait after the failure number `attempt` (from 0): doubling, with jitter, and as the app asks. */
export function backoffMs(attempt: number, retryAfterMs: number, random: number): number {
  const ceiling = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 20), BACKOFF_MAX_MS);
  return Math.max(Math.round(ceiling * (0.5 + random / 2)), retryAfterMs);
}

/** A Retry-After in milliseconds, given as seconds or as a date; never longer than a heartbeat. */
export function retryAfterOf(header: string | null, now: number): number {
  if (header === null) return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? 0 : Math.min(Math.max(ms, 0), HEARTBEAT_MS);
}

/** A body as text, no more of it than a tick's answer may have. */
async function textOf(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for (;;) {
    const part = await reader?.read();
    if (part === undefined || part.done) return text;
    bytes += part.value.length;
    if (bytes > BODY_BYTES_MAX) {
      await reader?.cancel();
      return "";
    }
    text += decoder.decode(part.value, { stream: true });
  }
}

function jsonOf(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function isInstant(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= INSTANT_MAX;
}
