// Scores rows of features by the WebAssembly module, in Node and in a browser page. It fetches
// nothing: the caller gives the bytes of stream_scorer_edge.wasm and of tables.bin.
//
//     const scorer = await Scorer.open(module, tables);
//     const [found] = scorer.decide([[12.5, 1, NaN, ...]]);
//     found.outcome, found.score

export const OUTCOMES = ["APPROVE", "REVIEW", "BLOCK"];
const [MODEL, EVENT, RESULT, AT_ONCE] = [4096, 16, 24, 1024];

export class Scorer {
  static async open(module, tables) {
    const { instance } = await WebAssembly.instantiate(module);
    return new Scorer(instance.exports, tables);
  }

  constructor(kernel, tables) {
    this.kernel = kernel;
    this.model = this.#reserved(MODEL);
    const image = this.#reserved(tables.length);
    new Uint8Array(kernel.memory.buffer, image, tables.length).set(tables);
    const code = kernel.ss_open(this.model, image, tables.length);
    if (code !== 0) throw new Error(`tables.bin is refused, code ${code}`);
    this.features = kernel.ss_feature_count(this.model);
    this.fields = kernel.ss_field_count(this.model);
    this.scratch = this.#reserved(kernel.ss_scratch_size(this.model));
    this.rows = this.#reserved(AT_ONCE * this.features * 8);
    this.values = this.#reserved(AT_ONCE * this.fields * 2);
    this.events = this.#reserved(AT_ONCE * EVENT);
    this.results = this.#reserved(AT_ONCE * RESULT);
    this.text = this.#reserved(1024);
  }

  #reserved(bytes) {
    const at = this.kernel.ss_reserve(bytes);
    if (at === 0) throw new Error("no memory");
    return at;
  }

  // The number of a text among the values that the policy names for a field.
  value(field, text) {
    if (text === null || text === undefined) return this.kernel.ss_value(this.model, field, 0, 0);
    const bytes = new TextEncoder().encode(String(text)).subarray(0, 1024);
    new Uint8Array(this.kernel.memory.buffer, this.text, bytes.length).set(bytes);
    return this.kernel.ss_value(this.model, field, this.text, bytes.length);
  }

  // Returns the bytes of an ss_result for each row. Rows are numbers in one Float64Array; amounts a
  // BigInt64Array, and values a Uint16Array with one number of `value` for each field of each row.
  results_of(rows, amounts, values) {
    const count = rows.length / this.features;
    const found = new Uint8Array(count * RESULT);
    const buffer = this.kernel.memory.buffer;
    for (let first = 0; first < count; first += AT_ONCE) {
      const some = Math.min(AT_ONCE, count - first);
      const [from, past] = [first * this.features, (first + some) * this.features];
      new Float64Array(buffer, this.rows, some * this.features).set(rows.subarray(from, past));
      const events = new DataView(buffer, this.events, some * EVENT);
      for (let row = 0; row < some; row++) {
        events.setBigInt64(row * EVENT, amounts ? amounts[first + row] : 0n, true);
        events.setUint32(row * EVENT + 8, this.values + row * this.fields * 2, true);
      }
      const numbers = new Uint16Array(buffer, this.values, some * this.fields);
      for (let at = 0; at < numbers.length; at++) {
        numbers[at] = values ? values[first * this.fields + at] : 0xffff;
      }
      const code = this.kernel.ss_decide_rows(
        this.model, this.rows, some, this.events, this.scratch, this.results);
      if (code !== 0) throw new Error(`a row is refused, code ${code}`);
      found.set(new Uint8Array(buffer, this.results, some * RESULT), first * RESULT);
    }
    return found;
  }

  // Decides rows, each an array of numbers. Events are objects with amount (in minor units) and
  // values (the texts of the policy's fields); they may be left out if the policy has no segments.
  decide(rows, events = []) {
    for (const row of rows) {
      if (row.length !== this.features) throw new Error(`a row has ${this.features} features`);
    }
    const amounts = BigInt64Array.from(rows, (_, row) => BigInt(events[row]?.amount ?? 0));
    const values = Uint16Array.from({ length: rows.length * this.fields }, (_, at) =>
      this.value(at % this.fields, events[Math.floor(at / this.fields)]?.values?.[at % this.fields]));
    const found = this.results_of(Float64Array.from(rows.flat()), amounts, values);
    return rows.map((_, row) => {
      const view = new DataView(found.buffer, row * RESULT, RESULT);
      return {
        margin: view.getFloat64(0, true), score: view.getFloat64(8, true),
        segment: view.getInt16(16, true), outcome: OUTCOMES[view.getUint8(18)],
        model_outcome: OUTCOMES[view.getUint8(19)] ?? null, failed: view.getUint8(20) === 1,
      };
    });
  }
}
