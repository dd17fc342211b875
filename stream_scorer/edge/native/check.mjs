// Scores golden.bin, and compares every bit of the results: node check.mjs
import { readFileSync } from "node:fs";
import { Scorer } from "./scorer.mjs";

const read = (name) => readFileSync(new URL(name, import.meta.url));
const scorer = await Scorer.open(read("stream_scorer_edge.wasm"), read("tables.bin"));
const data = Uint8Array.from(read("golden.bin")).buffer;
const head = new DataView(data, 0, 64);
const [features, fields] = [head.getUint32(8, true), head.getUint32(12, true)];
const [count, rows, amounts, values, results] = [16, 24, 32, 40, 48].map((at) =>
  Number(head.getBigUint64(at, true)));
if (features !== scorer.features || fields !== scorer.fields) throw new Error("of another model");
const found = scorer.results_of(
  new Float64Array(data, rows, count * features), new BigInt64Array(data, amounts, count),
  new Uint16Array(data, values, count * fields));
const size = found.length / count;
const expected = new Uint8Array(data, results, found.length);
let different = 0;
for (let row = 0; row < count; row++) {
  let same = true;
  for (let at = row * size; at < (row + 1) * size; at++) same &&= found[at] === expected[at];
  different += same ? 0 : 1;
}
console.log(`${count} golden rows, ${different} differ`);
process.exitCode = different > 0 ? 1 : 0;
