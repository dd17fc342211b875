"""Whether one schema can read what another writes, and if not, at which field and why.

Implements the Avro specification's resolution rules. ``avro.compatibility`` implements them too,
but loses the path inside unions, where most of our changes happen (a field becomes optional or
stops being so). A test checks that both give the same verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.errors import SchemaError
from stream_scorer.registry.definition import Definition, parse_definition

MODES: Final = (
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL",
    "FULL_TRANSITIVE",
)  # fmt: skip
_WIDENS: Final = {
    ("int", "long"), ("int", "float"), ("int", "double"), ("long", "float"), ("long", "double"),
    ("float", "double"), ("string", "bytes"), ("bytes", "string"),
}  # fmt: skip
_COMPARED_MOST: Final = 100_000
_SYMBOLS: Final = 10
"""Symbols of two enums that count as one type compared."""
_SHOWN: Final = 8
_PATH_MOST: Final = 400
_NAMED: Final = frozenset({"record", "enum", "fixed"})


@dataclass(frozen=True, slots=True)
class ReadingFault:
    """One place where reading fails.

    Attributes:
        path: The field, such as ``address.lines[].text``; empty for the schema itself.
        why: What does not fit there.
    """

    path: str
    why: str

    def __str__(self) -> str:
        return f"field {self.path}: {self.why}" if self.path else self.why


class _Comparison:
    def __init__(self, reader: Definition, writer: Definition, *, per_value: bool) -> None:
        self.reader = reader
        self.writer = writer
        self.per_value = per_value
        # Faults by the names of two records or enums, with paths inside them; of records, empty
        # during comparison.
        self.compared: dict[tuple[str, str], list[ReadingFault]] = {}
        self.left = _COMPARED_MOST

    def compare(self, read: Any, written: Any, path: str) -> list[ReadingFault]:
        self.left -= 1
        if self.left < 0:
            raise SchemaError("schemas: too many types to compare", "use fewer unions and aliases")
        reads, writes = self.reader.kind(read), self.writer.kind(written)
        read, written = self.reader.expand(read), self.writer.expand(written)
        if writes == "union":
            return self.written_union(read, written, path)
        if reads == "union":
            return self.read_union(read, written, path)
        if reads != writes:
            known_as_text = self.per_value and (writes, reads) == ("enum", "string")
            if (writes, reads) in _WIDENS or known_as_text:
                return []
            return [ReadingFault(path, f"written as {writes}, read as {reads}")]
        if reads in _NAMED and not self.same_name(read, written):
            return [
                ReadingFault(path, f"written as {writes} {written['name']}, read as {read['name']}")
            ]
        inside = {
            "record": self.record, "enum": self.enum, "fixed": self.fixed,
            "array": self.array, "map": self.map,
        }  # fmt: skip
        return inside.get(reads, self.logical)(read, written, path)

    def array(self, read: Any, written: Any, path: str) -> list[ReadingFault]:
        return self.compare(read["items"], written["items"], f"{path}[]")

    def map(self, read: Any, written: Any, path: str) -> list[ReadingFault]:
        return self.compare(read["values"], written["values"], f"{path}{{}}")

    def fixed(self, read: Any, written: Any, path: str) -> list[ReadingFault]:
        if read["size"] == written["size"]:
            return []
        return [
            ReadingFault(path, f"written with {written['size']} bytes, read with {read['size']}")
        ]

    def same_name(self, read: Any, written: Any) -> bool:
        name = written["name"]
        short = name.rpartition(".")[2]
        return bool(
            read["name"].rpartition(".")[2] == short
            or name in read.get("aliases", ())
            or short in read.get("aliases", ())
        )

    def logical(self, read: Any, written: Any, path: str) -> list[ReadingFault]:
        """Compare logical types; only for our own reading, as the specification ignores them."""
        reads, writes = self.reader.logical(read), self.writer.logical(written)
        if self.per_value and reads and writes and reads != writes:
            return [ReadingFault(path, f"written as {writes}, read as {reads}")]
        return []

    def written_union(self, read: Any, written: Any, path: str) -> list[ReadingFault]:
        branches = [self.compare(read, branch, path) for branch in written]
        if self.per_value and not all(branches):
            # A match of null alone is not enough: then no value could be read.
            values = [
                faults
                for faults, branch in zip(branches, written, strict=True)
                if self.writer.kind(branch) != "null"
            ]
            if not values or not all(values):
                return []
        return [fault for faults in branches for fault in faults]

    def read_union(self, read: Any, written: Any, path: str) -> list[ReadingFault]:
        tried = [(branch, self.compare(branch, written, path)) for branch in read]
        if any(not faults for _, faults in tried):
            return []
        writes = self.writer.kind(written)
        # A branch of the same type gives the best reason; otherwise no branch accepts the type.
        for branch, faults in tried:
            if self.reader.kind(branch) == writes:
                return faults
        known = ", ".join(self.reader.kind(branch) for branch in read[:_SHOWN])
        return [ReadingFault(path, f"written as {writes}, read as one of {known}")]

    def record(self, read: Any, written: Any, path: str) -> list[ReadingFault]:
        """Compare a pair of records once; later uses repeat its first fault only."""
        pair = (read["name"], written["name"])
        known = self.compared.get(pair)
        if known is not None:
            return [_under(path, fault) for fault in known[:1]]
        self.compared[pair] = []
        fields = {field["name"]: field for field in written["fields"]}
        faults = []
        for field in read["fields"]:
            name = field["name"]
            found = next(
                (fields[n] for n in (name, *field.get("aliases", ())) if n in fields), None
            )
            if found is not None:
                faults += self.compare(field["type"], found["type"], name)
            elif "default" not in field:
                faults.append(
                    ReadingFault(name, "the reader has no default for it, and it is not written")
                )
        self.compared[pair] = faults
        return [_under(path, fault) for fault in faults]

    def enum(self, read: Any, written: Any, path: str) -> list[ReadingFault]:
        """Compare a pair of enums once; every use has the same fault."""
        pair = (read["name"], written["name"])
        if pair not in self.compared:
            self.left -= (len(read["symbols"]) + len(written["symbols"])) // _SYMBOLS
            self.compared[pair] = self.symbols(read, written)
        return [_under(path, fault) for fault in self.compared[pair]]

    def symbols(self, read: Any, written: Any) -> list[ReadingFault]:
        known = frozenset(read["symbols"])
        lacking = [symbol for symbol in written["symbols"] if symbol not in known]
        if not lacking or "default" in read:
            return []
        if self.per_value and len(lacking) < len(written["symbols"]):
            return []
        more = ", ..." if len(lacking) > _SHOWN else ""
        named = ", ".join(lacking[:_SHOWN]) + more
        return [ReadingFault("", f"the reader has neither symbol {named} nor a default")]


def _under(path: str, fault: ReadingFault) -> ReadingFault:
    """Return a fault inside a record as a fault of the enclosing schema."""
    if not path:
        return fault
    whole = f"{path}.{fault.path}" if fault.path else path
    if len(whole) > _PATH_MOST:
        whole = f"{whole[:_PATH_MOST]}..."
    return ReadingFault(whole, fault.why)


def incompatibilities(
    reader: Definition, writer: Definition, *, per_value: bool = False
) -> list[ReadingFault]:
    """Return where a reader fails on what a writer writes; empty if it never does.

    Args:
        reader: The schema that reads.
        writer: The schema that wrote.
        per_value: Judge as decoding does: a fault counts only if every value fails (a union needs
            one readable branch besides null, an enum one known symbol), an enum can be read as a
            string, and different logical types do not match.

    Raises:
        SchemaError: They are too entangled to be compared.
    """
    comparison = _Comparison(reader, writer, per_value=per_value)
    try:
        return comparison.compare(reader.root, writer.root, "")
    except RecursionError:
        raise SchemaError("schemas: types name each other too deeply", "flatten them") from None


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """A schema that does not fit an earlier version.

    Attributes:
        version: The earlier version.
        direction: ``backward`` (new reads old) or ``forward`` (old reads new).
        fault: Where and why.
    """

    version: int
    direction: str
    fault: ReadingFault

    def __str__(self) -> str:
        reads = "the new schema reads" if self.direction == "backward" else "is read by"
        return f"{self.fault} ({self.direction}: {reads} version {self.version})"


def check_mode(mode: str) -> str:
    """Return ``mode`` in capitals.

    Raises:
        SchemaError: It is not one of :data:`MODES`.
    """
    if mode.upper() not in MODES:
        raise SchemaError(f"compatibility {mode!r}: unknown", f"use one of {', '.join(MODES)}")
    return mode.upper()


def verdicts(
    candidate: str, earlier: Sequence[tuple[int, str]], mode: str
) -> list[Incompatibility]:
    """Check a new schema against a subject's earlier versions.

    Args:
        candidate: JSON of the new schema.
        earlier: (version, JSON), oldest first.
        mode: One of :data:`MODES`; without ``_TRANSITIVE`` only the newest version counts.

    Returns:
        What does not fit; empty if the schema may follow.

    Raises:
        SchemaError: A schema cannot be parsed, or the mode is unknown.
    """
    mode = check_mode(mode)
    new = parse_definition(candidate, "new schema")
    if mode == "NONE":
        return []
    against = earlier if mode.endswith("_TRANSITIVE") else earlier[-1:]
    direction = mode.removesuffix("_TRANSITIVE")
    found = []
    for version, text in against:
        old = parse_definition(text, f"version {version}")
        if direction in {"BACKWARD", "FULL"}:
            found += [Incompatibility(version, "backward", f) for f in incompatibilities(new, old)]
        if direction in {"FORWARD", "FULL"}:
            found += [Incompatibility(version, "forward", f) for f in incompatibilities(old, new)]
    return found
