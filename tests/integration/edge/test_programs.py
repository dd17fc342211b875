"""Exported folders are compiled and run by the programs for which they are made."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from stream_scorer.edge.export import targets
from stream_scorer.edge.native.check import golden_arrays
from stream_scorer.errors import SettingsError
from tests.support.edge.browser import self_test
from tests.support.edge.checked_programs import (
    PLAIN,
    SANITIZED,
    VALGRIND,
    checker,
    mutated,
    mutating,
    run,
)
from tests.support.edge.edge_models import NO_POLICY, SEGMENTED, case_of, ensembles
from tests.support.edge.exported import exported, store_of
from tests.support.edge.native_library import NativeScorer, compiled
from tests.support.edge.wasm_scorer import WasmScorer

pytestmark = pytest.mark.toolchain

CODE_BYTES_MOST = 32 * 1024
FUSED = re.compile(r"\b(vfn?m(add|sub)|fn?m(add|sub)|fml[as])", re.IGNORECASE)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of(tmp_path_factory.mktemp("edge"))


@pytest.fixture(scope="module")
def folder(store: Path) -> Path:
    return Path(exported(store, "c", store.parent / "c").folder)


@pytest.fixture(scope="module")
def wasm(store: Path) -> Path:
    return Path(exported(store, "wasm", store.parent / "wasm").folder)


def golden_count(folder: Path) -> int:
    return len(golden_arrays((folder / "golden.bin").read_bytes())[0])


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_make_compiles_and_proves_the_folder(folder: Path, tmp_path: Path, compiler: str) -> None:
    made = shutil.copytree(folder, tmp_path / "made")
    code, out, err = run(made, "make", f"CC={compiler}", "all", "check")
    assert (code, err) == (0, ""), out
    assert f"{golden_count(made)} golden rows, 0 differ" in out
    sizes = run(made, "size", "stream_scorer_edge.o")[1].splitlines()[1].split()
    assert int(sizes[3]) <= CODE_BYTES_MOST
    assert FUSED.search(run(made, "objdump", "-d", "stream_scorer_edge.o")[1]) is None


def test_a_changed_golden_row_fails_the_check(folder: Path, tmp_path: Path) -> None:
    made = shutil.copytree(folder, tmp_path / "made")
    data = bytearray((made / "golden.bin").read_bytes())
    data[-40] ^= 1
    (made / "golden.bin").write_bytes(data)
    code, out, _ = run(made, "make", "check")
    assert code == 2
    assert f"{golden_count(made)} golden rows, 1 differ" in out


def test_a_kernel_with_fused_operations_is_noticed(tmp_path: Path) -> None:
    flags = ("-std=c99", "-O3", "-march=haswell", "-ffp-contract=fast", "-shared", "-fPIC")
    out = tmp_path / "fused.so"
    source = str(targets.NATIVE / "stream_scorer_edge.c")
    assert run(tmp_path, "gcc", *flags, source, "-o", str(out))[0] == 0
    assert FUSED.search(run(tmp_path, "objdump", "-d", str(out))[1])


def test_fast_math_is_refused_by_the_compiler(folder: Path, tmp_path: Path) -> None:
    made = shutil.copytree(folder, tmp_path / "made")
    code, _, err = run(made, "make", "CFLAGS=-std=c99 -O3 -ffast-math")
    assert code == 2
    assert "no -ffast-math" in err


def test_the_example_decides_rows_of_text(folder: Path, tmp_path: Path) -> None:
    made = shutil.copytree(folder, tmp_path / "made")
    assert run(made, "make")[0] == 0
    rows, _, _, results = golden_arrays((made / "golden.bin").read_bytes())
    lines = [",".join([*map(repr, row.tolist()), "0", "-", "DE"]) for row in rows[:64]]
    code, out, err = run(made, "./example", text="\n".join(lines))
    assert (code, err) == (0, "")
    scores = [float(line.split()[1]) for line in out.splitlines()]
    assert scores == results["score"][:64].tolist()
    for ending in ("", "0,-", "0,-,DE,1", "x,-,DE", ",-,DE", "99999999999999999999,-,DE"):
        broken = ",".join([*map(repr, rows[0].tolist()), ending])
        code, out, err = run(made, "./example", text=f"{lines[0]}\n{broken}\n")
        assert (code, err) == (2, "line 2: not the values that are needed\n"), ending
        assert out.count("\n") == 1
    for first in ("", "x", "1x"):
        broken = ",".join([first, *lines[0].split(",")[1:]])
        assert run(made, "./example", text=broken)[0] == 2


@pytest.mark.parametrize("length", [0, 63, 4_096, -64])
def test_golden_rows_that_are_not_whole_are_refused(
    folder: Path, tmp_path: Path, length: int
) -> None:
    program = checker(folder, tmp_path / "made", SANITIZED)
    whole = (folder / "golden.bin").read_bytes()
    (program.parent / "golden.bin").write_bytes(whole[:length])
    code, out, err = run(program.parent, str(program))
    assert (code, out, err) == (2, "", "golden.bin: not this model's golden rows\n")


def test_node_proves_the_folder(wasm: Path) -> None:
    code, out, err = run(wasm, "node", "check.mjs")
    assert (code, err) == (0, "")
    assert out == f"{golden_count(wasm)} golden rows, 0 differ\n"


def test_node_notices_a_changed_golden_row(wasm: Path, tmp_path: Path) -> None:
    made = shutil.copytree(wasm, tmp_path / "made")
    data = bytearray((made / "golden.bin").read_bytes())
    data[-40] ^= 1
    (made / "golden.bin").write_bytes(data)
    code, out, _ = run(made, "node", "check.mjs")
    assert (code, out) == (1, f"{golden_count(made)} golden rows, 1 differ\n")


def in_node(folder: Path, script: str) -> str:
    """Return what a script prints in Node; it has a ``scorer``, and ``refusal`` of a call."""
    start = """
    import { readFileSync } from "node:fs";
    import { Scorer } from "./scorer.mjs";
    const read = (name) => readFileSync(new URL(name, import.meta.url));
    const scorer = await Scorer.open(read("stream_scorer_edge.wasm"), read("tables.bin"));
    const refusal = (call) => { try { call(); return "taken"; } catch (error) { return error.message; } };
    """  # noqa: E501 a script
    (folder / "script.mjs").write_text(start + script)
    code, out, err = run(folder, "node", "script.mjs")
    (folder / "script.mjs").unlink()
    assert (code, err) == (0, "")
    return out


def test_the_host_for_javascript_takes_events(wasm: Path) -> None:
    script = """
    const rows = Array.from({ length: 3 }, () => Array(scorer.features).fill(1));
    const events = [{ amount: 5001, values: ["ECOM", "DE"] }, { amount: "5", values: [null, "FR"] },
      { amount: 7n, values: ["ECOM".repeat(2_000), null] }];
    console.log(scorer.decide(rows, events).map((each) => each.segment).join());
    console.log(refusal(() => scorer.decide([[1]])));
    console.log(refusal(() => scorer.decide(rows)));
    console.log(refusal(() => scorer.decide(rows, events.slice(1))));
    const none = { amount: 1, values: [] };
    console.log(refusal(() => scorer.decide(rows, [none, none, none])));
    for (const amount of [undefined, null, 1.5, "1e3", 2 ** 65, "9223372036854775808"]) {
      const event = { amount, values: [null, null] };
      console.log(refusal(() => scorer.decide(rows.slice(2), [event])));
    }
    """
    amounts = ("undefined", "null", "1.5", "1e3", "36893488147419103000", "9223372036854775808")
    needs = "the policy needs the amount and the fields of each event"
    assert in_node(wasm, script).splitlines() == [
        "0,1,-1", "a row has 9 features", needs, needs, "an event has 2 values",
        *(f"amount {amount}: not a whole number of minor units" for amount in amounts),
    ]  # fmt: skip


def test_lines_of_text_are_decided_or_refused(wasm: Path) -> None:
    rows, _, _, results = golden_arrays((wasm / "golden.bin").read_bytes())
    usable = np.linspace(0, len(rows) - 1, 200).astype(np.int64)
    lines = [",".join([*map(repr, rows[number].tolist()), "0", "-", " DE "]) for number in usable]
    (wasm / "rows.csv").write_text("\r\n".join([*lines, "", ""]))
    nine = ",".join("1" * 9)
    refused = [nine, f"{nine},5,-", f"{nine},5,-,-,-", f"{nine[:-1]},5,-,-", f"{nine[:-1]}x,5,-,-",
               f"{nine[:-1]}constructor,5,-,-", f"{nine},5.5,-,-", f"{nine},,-,-"]  # fmt: skip
    script = f"""
    const found = scorer.decide_text(read("rows.csv").toString());
    console.log(found.length, scorer.decide_text("").length);
    for (const text of {refused}) console.log(refusal(() => scorer.decide_text("\\n" + text)));
    const special = scorer.decide_text("NaN,-inf,inf,+1,-.5,1.,1e3,2E-2,0,5,-,-");
    console.log(special.length);
    for (const each of found) console.log(each.score);
    """
    told = in_node(wasm, script).splitlines()
    (wasm / "rows.csv").unlink()
    amount = "not a whole number of minor units"
    assert told[:10] == [
        "200 0", *(f"line 2: {count} values, not 12" for count in (9, 11, 13)),
        "line 2: nothing: not a number", "line 2: x: not a number",
        "line 2: constructor: not a number", f"line 2: amount 5.5: {amount}",
        f"line 2: amount : {amount}", "1",
    ]  # fmt: skip
    scores = np.array([float(each) for each in told[10:]])
    assert scores.tobytes() == results["score"][usable].tobytes()


def test_wasm_has_the_bits_of_every_kind_of_body(wasm: Path, tmp_path: Path) -> None:
    module = (wasm / targets.MODULE).read_bytes()
    library = compiled(tmp_path)
    for kind, model in ensembles().items():
        case = case_of(model, NO_POLICY, rows=5_000)
        want = NativeScorer(library, case.image).results(case.rows)
        assert WasmScorer(module, case.image).results(case.rows).tobytes() == want.tobytes(), kind


def test_wasm_fits_segments_as_c_does(wasm: Path, tmp_path: Path) -> None:
    case = case_of(ensembles()["walked"], SEGMENTED)
    numbers = np.random.default_rng(4)
    amounts = numbers.choice([0, 1_999, 2_000, 50_001], len(case.rows))
    values = numbers.integers(0, 4, (len(case.rows), 3)).astype(np.uint16)
    want = NativeScorer(compiled(tmp_path), case.image).results(case.rows, amounts, values)
    found = WasmScorer((wasm / targets.MODULE).read_bytes(), case.image)
    assert found.results(case.rows, amounts, values).tobytes() == want.tobytes()


def test_a_missing_compiler_is_named_with_its_packages() -> None:
    with pytest.raises(SettingsError, match="apt-get install clang lld wasi-libc"):
        targets.compiled_module("no-such-clang")


def test_the_page_scores_in_a_browser_without_a_network(wasm: Path, tmp_path: Path) -> None:
    count, different, made = self_test(wasm / "page.html", tmp_path / "profile")
    assert (count, different) == (1_000, 0)
    results = golden_arrays((wasm / "golden.bin").read_bytes())[3]
    chosen = [number * len(results) // 1_000 for number in range(1_000)]
    assert made.tobytes() == results[chosen].tobytes()


def test_sanitizers_find_nothing_on_golden_rows(folder: Path, tmp_path: Path) -> None:
    program = checker(folder, tmp_path / "made", SANITIZED)
    code, out, err = run(program.parent, str(program))
    assert (code, err) == (0, "")
    assert out.endswith(" golden rows, 0 differ\n")


@pytest.mark.thorough
def test_valgrind_finds_nothing_on_golden_rows(folder: Path, tmp_path: Path) -> None:
    program = checker(folder, tmp_path / "made", PLAIN)
    code, out, err = run(program.parent, *VALGRIND, str(program))
    assert (code, err) == (0, "")
    assert out.endswith(" golden rows, 0 differ\n")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kind", ["32-bit masks", "64-bit masks, single", "walked", "walked sets", "integers", "a table"]
)
def test_sanitizers_find_nothing_on_mutated_images(tmp_path: Path, kind: str) -> None:
    image = case_of(ensembles()[kind], SEGMENTED).image
    opened, refused = mutated(mutating(tmp_path), image, 4_000, 7)
    assert min(opened, refused) > 40
