"""``stream-scorer events``: your own records, and the mapping that they need."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copymode
from tempfile import NamedTemporaryFile
from typing import Annotated, Any

import typer

from stream_scorer.cli.options import MOST_RECORDS, ClusterJsonOptions, CommandGroup
from stream_scorer.core.events.plan import Plan, parse_tables, plan_from
from stream_scorer.core.mapping.mapping import mapping_in, parse_events
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.explaining.draft import draft_text, stub_of_rates
from stream_scorer.explaining.report import MappingReport, draft_of, with_mapping
from stream_scorer.explaining.report import explain as explained
from stream_scorer.explaining.sample import RecordSample, sample_of, sample_of_file
from stream_scorer.explaining.table_sample import TableSample, table_sample
from stream_scorer.kafka.reading.read_to_end import newest
from stream_scorer.models.stores.deployment import plan_files
from stream_scorer.registry.sources import open_registry

app = CommandGroup(
    "Your own records: what of them fits a mapping, and a draft of one.", ClusterJsonOptions
)


@app.command()
def explain(
    *,
    topic: Annotated[
        str | None, typer.Option("--topic", help="Topic whose newest records are read.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="A .csv, .parquet, .avro, .avsc, .json, .jsonl or .ndjson file instead."
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option("--events", help="Check this events.toml, and write none; exit code 4 if "
                     "a field does not fit."),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option("--labels", help="The topic or file has labels: check [labels] of --events."),
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="Plan file or folder with currencies and limits."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Where the draft is written.")
    ] = Path("events.toml"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file of --out if it exists.")
    ] = False,
    records: Annotated[
        int, typer.Option("--records", min=1, max=MOST_RECORDS, help="How many records are read.")
    ] = 1_000,
    options: ClusterJsonOptions,
) -> None:  # fmt: skip
    """Print what of a topic or a file fits, what does not and why; write a draft events.toml."""
    if labels and events is None:
        raise SettingsError(
            "events explain: --labels drafts no mapping", "name one that has [labels]: --events"
        )
    chosen, stub = _plan(plan) if plan is not None else (Plan(), False)
    sample = _sample(topic, file, records, options)
    written = None
    missing: tuple[str, ...] = ()
    if events is not None:
        table = _read(events)
    else:
        draft = draft_of(sample, chosen, stub=stub)
        missing, table = draft.missing, draft.table
        _write(out, draft_text(draft), overwrite=overwrite)
        written = str(out)
    if missing:
        options.show(
            {"format": sample.format, "draft": written, "missing": list(missing)},
            ["key", "fits"],
            [(f"fields.{name}", "nothing like it was found") for name in missing],
        )
        return
    whole = _checked(table, chosen, events, labels=labels)
    mapping = (whole.labels if labels else None) or mapping_in(whole.events)
    if isinstance(sample, RecordSample) and mapping.format != sample.format:
        section = "labels" if labels else "record"
        raise SchemaError(
            f"{events}: {section}.format is {mapping.format}, and the records are {sample.format}",
            "correct the mapping",
        )
    found = explained(whole, sample, mapping if labels else None)
    unwritten = list(chosen.currencies)[1:] if written is not None and stub else []
    _show(options, sample, found, written, unwritten, "labels" if labels else "transactions")
    wrong = [each for each in found.fields if each.why]
    if events is not None and wrong:
        raise SchemaError(
            f"{events}: {len(wrong)} of {len(found.fields)} fields do not fit: {wrong[0].key}: "
            f"{wrong[0].source}: {wrong[0].why}",
            "correct the mapping",
        )


def _plan(path: Path) -> tuple[Plan, bool]:
    """Return a plan, and whether its rates are a stub because it has several currencies and none.

    A draft is made before events.toml can have the rates.
    """
    files = plan_files(path)
    try:
        table = parse_tables(files.text, files.parts)
    except ValueError:
        return files.plan(), False  # which names the file
    currencies, events = table.get("currencies"), table.get("events", {})
    codes = list(currencies) if isinstance(currencies, dict) else []
    if len(codes) <= 1 or not isinstance(events, dict) or "rates" in events:
        return files.plan(), False
    table["events"] = {**events, "rates": stub_of_rates(codes)}
    try:
        return plan_from(table), True
    except ValueError as error:
        raise SettingsError(f"plan {path}: {error}", "correct the file") from error


def _sample(
    topic: str | None, file: Path | None, records: int, options: ClusterJsonOptions
) -> RecordSample | TableSample:
    if (topic is None) == (file is None):
        raise SettingsError("events explain: needs either --topic or --file", "give one of them")
    if file is not None:
        if file.suffix.lower() in {".csv", ".parquet"}:
            return table_sample(file, records)
        return sample_of_file(file, records)
    settings = options.connected()
    messages = list(newest(settings.kafka, topic or "", records))
    if not messages:
        raise SettingsError(f"topic {topic}: has no records", "name another, or a --file")
    return sample_of(
        [message.value() for message in messages],
        [message.key() for message in messages],
        open_registry(settings.registry),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return parse_events(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", "name a file: --events") from error
    except ValueError as error:
        raise SettingsError(f"{path}: {error}", "correct it") from error


def _checked(table: dict[str, Any], plan: Plan, path: Path | None, *, labels: bool) -> Plan:
    try:
        made = with_mapping(plan, table)
    except ValueError as error:
        raise SettingsError(f"{path or 'the draft'}: {error}", "correct it") from error
    if labels and made.labels is None:
        raise SettingsError(f"{path}: has no [labels]", "add it; see docs/YOUR_DATA.md")
    if not labels and not mapping_in(made.events).fields:
        raise SettingsError(f"{path}: has no [fields]", "a mapping of rates alone needs no topic")
    return made


def _write(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a file in UTF-8, or leave what is there as it is."""
    data = text.encode()
    try:
        if overwrite and path.exists():
            _replace(path.resolve(), data)
        else:
            with path.open("xb") as stream, _removed_on_error(path):
                stream.write(data)
                stream.flush()
    except FileExistsError:
        raise SettingsError(
            f"{path}: exists already", "name another file with --out, or give --overwrite"
        ) from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", "name another file: --out") from error


def _replace(path: Path, data: bytes) -> None:
    if not path.is_file():
        path.write_bytes(data)  # a device or a pipe
        return
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as stream:
        part = Path(stream.name)
        with _removed_on_error(part):
            stream.write(data)
            stream.flush()
            copymode(path, part)
            part.replace(path)


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _show(
    options: ClusterJsonOptions, sample: RecordSample | TableSample, found: MappingReport,
    written: str | None, unwritten: list[str], what: str,
) -> None:  # fmt: skip
    rows = [(each.key, each.source, each.kind, each.why or "yes") for each in found.fields]
    rows.append(("records", f"{found.records:,}", sample.format, ""))
    rows.append((what, f"{found.transactions:,}", "", ""))
    if found.skipped:
        rows.append(("skipped", f"{found.skipped:,}", "", "where does not choose them"))
    rows += [("rejected", f"{count:,}", reason, why) for reason, why, count in found.rejected]
    if found.keyed is not None:
        why = "" if found.keyed == found.transactions else "see [key], and rekey, in YOUR_DATA.md"
        rows.append(("key is customer_id", f"{found.keyed:,}", "", why))
    if written is not None:
        rows.append(("draft", written, "", ""))
    rows += [(f"rates.{code}", "", "", "write its rates in the draft") for code in unwritten]
    options.show(
        {
            "format": sample.format,
            "fields": [
                {"key": each.key, "source": each.source, "kind": each.kind, "fits": not each.why,
                 "why": each.why}
                for each in found.fields
            ],
            "records": found.records,
            what: found.transactions,
            "skipped": found.skipped,
            "rejected": [
                {"reason": reason, "detail": why, "records": count}
                for reason, why, count in found.rejected
            ],
            "key_is_customer": found.keyed,
            "draft": written,
            "rates_missing": unwritten,
        },
        ["key", "source", "kind", "fits"],
        rows,
    )  # fmt: skip
