// Holds manifests against public schemas: compose files against that of the Compose Specification, which
// dclint has with it, and Kubernetes objects against those of Kubernetes 1.27. A field that no schema knows is a fault too.
//   node docker/check_manifests.mjs FILE...
// Prints a line per fault and ends with 1 if there is one; 2 without files. With --json in front of the
// files it prints what they hold. Needs `npm ci` in docker/, which scripts/setup runs.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { parseAllDocuments } from "yaml";

const require = createRequire(import.meta.url);

function documents(file) {
  return parseAllDocuments(readFileSync(file, "utf8"), { merge: true }).map((document) => {
    if (document.errors.length) throw document.errors[0];
    return document.toJS();
  });
}

const line = ({ instancePath, keyword, params }) =>
  `${instancePath || "/"} is wrong: ${keyword} ${JSON.stringify(params)}`;

function composeFaults(data) {
  const Ajv = require("ajv").default;
  // The schema names formats that ajv does not have, and its draft by an address of its own.
  const ajv = new Ajv({ allErrors: true, strict: false, validateFormats: false });
  const folder = dirname(require.resolve("dclint/package.json"));
  const { $schema, ...schema } = require(join(folder, "schemas/compose.schema.json"));
  const validate = ajv.compile(schema);
  return validate(data) ? [] : validate.errors.map(line);
}

// apps/v1 Deployment -> IoK8sApiAppsV1Deployment
function validatorOf({ apiVersion, kind }) {
  const upper = (word) => word[0].toUpperCase() + word.slice(1);
  const words = `${apiVersion}`.includes("/") ? apiVersion.split("/") : ["core", `${apiVersion}`];
  const name = `IoK8sApi${words.map(upper).join("")}${kind}`;
  try {
    return require(join(dirname(require.resolve("kubernetes-models")), "_schemas", name)).validate;
  } catch {
    return null;
  }
}

// The validators let unknown fields pass, and read every field that they know. So what they never
// read is unknown.
function watched(data, path, read) {
  if (typeof data !== "object" || data === null) return data;
  return new Proxy(data, {
    get(target, key) {
      if (typeof key === "symbol") return target[key];
      read.add(`${path}/${key}`);
      return watched(target[key], `${path}/${key}`, read);
    },
  });
}

// The fields of the data that are not in the set; not those inside of one of them.
function unknown(data, path, known) {
  if (typeof data !== "object" || data === null) return [];
  return Object.entries(data).flatMap(([key, value]) => {
    const field = `${path}/${key}`;
    return known.has(field) ? unknown(value, field, known) : [field];
  });
}

function kubernetesFaults(data) {
  const validate = validatorOf(data);
  if (!validate) return [`no schema for ${data.kind} of ${data.apiVersion}`];
  const read = new Set();
  if (!validate(watched(data, "", read))) return validate.errors.map(line);
  return unknown(data, "", read).map((field) => `${field} is not a field that Kubernetes knows`);
}

const json = process.argv[2] === "--json";
const files = process.argv.slice(json ? 3 : 2);
if (files.length === 0) {
  console.error("usage: node docker/check_manifests.mjs [--json] FILE...");
  process.exit(2);
}
if (json) {
  console.log(JSON.stringify(files.flatMap(documents)));
  process.exit(0);
}
for (const file of files) {
  let faults;
  try {
    faults = documents(file).flatMap((data) =>
      data?.services ? composeFaults(data) : kubernetesFaults(data ?? {}));
  } catch (error) {
    faults = [error.message.split("\n")[0]];
  }
  for (const fault of faults) console.log(`${file}: ${fault}`);
  if (faults.length) process.exitCode = 1;
}
