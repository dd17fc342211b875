// Scores rows of features by the WebAssembly module, in Node and in a browser page. It fetches
// nothing: the caller gives the bytes of stream_scorer_edge.wasm and of tables.bin.
//
//     const scorer = await Scorer.open(module, tables);
//     const [found] = scorer.decide([[12.5, 1, NaN, ...]]);
//     found.outcome, found.score

export const OUTCOMES = ["APPROVE", "REVIEW", "BLOCK"];
const [MODEL, EVENT, RESULT, TEXT, AT_ONCE] = [4096, 16, 24, 4096, 1024];
const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const WORDS = new Map([["nan", NaN], ["inf", Infinity], ["-inf", -Infinity]]);

function number_of(text) {
  if (WORDS.has(text.toLowerCase())) return WORDS.get(text.toLowerCase());
  if (!NUMBER.test(text)) throw new Error(`${text || "nothing"}: not a number`);
  return Number(text);
}

function minor_units(amount) {
  const found = /^-?\d+$/.test(amount) ? BigInt(amount) : null;
  if (found === null || BigInt.asIntN(64, found) !== found) {
    throw new Error(`amount ${amount}: not a whole number of minor units`);
  }
  return found;
}

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
    this.segments = kernel.ss_segment_count(this.model);
    this.scratch = this.#reserved(kernel.ss_scratch_size(this.model));
    this.rows = this.#reserved(AT_ONCE * this.features * 8);
    this.values = this.#reserved(AT_ONCE * this.fields * 2);
    this.events = this.#reserved(AT_ONCE * EVENT);
    this.results = this.#reserved(AT_ONCE * RESULT);
    this.text = this.#reserved(TEXT);
  }

  #reserved(bytes) {
    const at = this.kernel.ss_reserve(bytes);
    if (at === 0) throw new Error("no memory");
    return at;
  }

  // The number of a text among the values that the policy names for a field. A longer text than the
  // memory for it is none of them: a policy's values have at most 256 characters.
  value(field, text) {
    const bytes = new TextEncoder().encode(String(text ?? ""));
    const none = text === null || text === undefined || bytes.length > TEXT;
    if (none) return this.kernel.ss_value(this.model, field, 0, 0);
    new Uint8Array(this.kernel.memory.buffer, this.text, bytes.length).set(bytes);
    return this.kernel.ss_value(this.model, field, this.text, bytes.length);
  }

  // Returns the bytes of an ss_result for each row. Rows are numbers in one Float64Array. If the
  // policy has segments, amounts are a BigInt64Array, in minor units, and values a Uint16Array with
  // one number of `value` for each field of each row.
  results_of(rows, amounts, values) {
    const count = rows.length / this.features;
    if (this.segments && (amounts?.length !== count || values?.length !== count * this.fields)) {
      throw new Error("the policy needs the amount and the fields of each event");
    }
    const found = new Uint8Array(count * RESULT);
    const buffer = this.kernel.memory.buffer;
    for (let first = 0; first < count; first += AT_ONCE) {
      const some = Math.min(AT_ONCE, count - first);
      const [from, past] = [first * this.features, (first + some) * this.features];
      new Float64Array(buffer, this.rows, some * this.features).set(rows.subarray(from, past));
      if (this.segments) this.#put_events(first, some, amounts, values);
      const code = this.kernel.ss_decide_rows(this.model, this.rows, some,
        this.segments ? this.events : 0, this.scratch, this.results);
      if (code !== 0) throw new Error(`a row is refused, code ${code}`);
      found.set(new Uint8Array(buffer, this.results, some * RESULT), first * RESULT);
    }
    return found;
  }

  #put_events(first, some, amounts, values) {
    const buffer = this.kernel.memory.buffer;
    const events = new DataView(buffer, this.events, some * EVENT);
    for (let row = 0; row < some; row++) {
      events.setBigInt64(row * EVENT, amounts[first + row], true);
      events.setUint32(row * EVENT + 8, this.values + row * this.fields * 2, true);
    }
    const numbers = values.subarray(first * this.fields, (first + some) * this.fields);
    new Uint16Array(buffer, this.values, numbers.length).set(numbers);
  }

  // Decides rows, each an array of numbers. Events are objects with `amount` (in minor units) and
  // `values` (the texts of the policy's fields); they are left out if the policy has no segments.
  decide(rows, events = []) {
    for (const row of rows) {
      if (row.length !== this.features) throw new Error(`a row has ${this.features} features`);
    }
    const amounts = BigInt64Array.from(events, ({ amount }) => minor_units(amount));
    const numbers = events.flatMap(({ values = [] }) => {
      if (values.length !== this.fields) throw new Error(`an event has ${this.fields} values`);
      return values.map((text, field) => this.value(field, text));
    });
    const found = this.results_of(
      Float64Array.from(rows.flat()), amounts, Uint16Array.from(numbers));
    return rows.map((_, row) => {
      const view = new DataView(found.buffer, row * RESULT, RESULT);
      return {
        margin: view.getFloat64(0, true), score: view.getFloat64(8, true),
        segment: view.getInt16(16, true), outcome: OUTCOMES[view.getUint8(18)],
        model_outcome: OUTCOMES[view.getUint8(19)] ?? null, failed: view.getUint8(20) === 1,
      };
    });
  }

  // Decides lines of text. Each has the features, separated by commas (`nan` for a missing one);
  // then, if the policy has segments, the amount in minor units and the policy's fields (`-` for a
  // missing one).
  decide_text(text) {
    const wanted = this.features + (this.segments ? 1 + this.fields : 0);
    const [rows, events] = [[], []];
    text.split(/\r?\n/).forEach((line, at) => {
      if (line.trim() === "") return;
      const parts = line.split(",").map((part) => part.trim());
      try {
        if (parts.length !== wanted) throw new Error(`${parts.length} values, not ${wanted}`);
        rows.push(parts.slice(0, this.features).map(number_of));
        if (!this.segments) return;
        const [amount, ...values] = parts.slice(this.features);
        minor_units(amount);
        events.push({ amount, values: values.map((value) => (value === "-" ? null : value)) });
      } catch (error) {
        throw new Error(`line ${at + 1}: ${error.message}`);
      }
    });
    return this.decide(rows, events);
  }
}
