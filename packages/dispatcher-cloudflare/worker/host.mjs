// Runs the built Worker on workerd until its standard input closes: what the tests drive.
//
//   node host.mjs '{"script": …, "name": …, "vars": {…}, "state": DIR, "port": 0}'
//
// Says {"url": …} on standard output once it listens, workerd's own words on standard error. `cf: false`: it opens no
// connection of its own.
import { readFileSync } from "node:fs";

import { Miniflare } from "miniflare";

const { script, vars, state, port } = JSON.parse(process.argv[2]);
const host = new Miniflare({
  modules: [{ type: "ESModule", path: "index.mjs", contents: readFileSync(script) }],
  compatibilityDate: "2026-04-01",
  bindings: vars,
  durableObjects: { SHARD: { className: "Shard", useSQLite: true } },
  durableObjectsPersist: state,
  host: "127.0.0.1",
  port,
  cf: false,
  handleRuntimeStdio(output, errors) {
    output.pipe(process.stderr);
    errors.pipe(process.stderr);
  },
});
process.stdout.write(`${JSON.stringify({ url: String(await host.ready) })}\n`);
process.stdin.resume();
process.stdin.on("end", async () => {
  await host.dispose().catch(() => {});
  process.exit(0);
});
