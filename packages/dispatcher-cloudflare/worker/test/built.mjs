// The Worker as built JavaScript: where the tests' caller put it, or where `npm run build` does.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const path = process.env.KEEPSTEP_WORKER_BUILT ?? resolve(import.meta.dirname, "../node_modules/.built/index.js");
export const worker = await import(pathToFileURL(path).href);
