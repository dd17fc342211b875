"""The documented rules that the cases check, by page.

Each is the heading of a section of docs/SECURITY.md and a part of its text, word for word apart
from line breaks and code marks; the bench fails if the page does not contain it.
"""

from typing import Final

_RECORDS: Final = "Schemas and records"
_ALIKE: Final = "Ids made to collide"
_OWN: Final = "Our own topics"
_BATCHES: Final = "Batches that cannot be inflated"
_GRANTS: Final = "Grants of retraining"
_STATE: Final = "Checkpoints"
_IDS: Final = "Schema ids that are unknown"
_BUNDLES: Final = "Model bundles"
_REJECTED: Final = "Rejections are history"
_GROUP: Final = "Group membership and fencing"
_READS: Final = "Reads end at offsets"
_TERMINALS: Final = "Terminals"
_LETTERS: Final = "Replaying dead letters"
_LARGE: Final = "Large records"
_HTTP: Final = "Metrics and probe server"
_FAILS: Final = "A record that fails the computation"
_LIVE: Final = "Liveness"
_DEVELOPMENT: Final = "The development registry"
_SECRETS: Final = "Secrets"
_CODE: Final = "Compiled code on disk"
_PRODUCTION: Final = "Production mode"
_STACK: Final = "The container stack"

RULES: Final[dict[str, tuple[str, str]]] = {
    "fixed": (_RECORDS, "`fixed` of 0 to `record_bytes_max` bytes"),
    "limits": (_RECORDS, "text ≤ 256 KiB, 64 nested types, 2,048 fields, 65,536 compiled steps"),
    "steps": (_RECORDS, "A record of b bytes takes at most 64 b + 4,096 steps"),
    "wide": (_RECORDS, "the unions of such a schema have at most 128 types"),
    "symbols": (_RECORDS, "have more than 1,024 bytes together"),
    "depth": (_RECORDS, "64 nested types"),
    "prepare": (_RECORDS, "an error occurs while it is prepared, only *its own* records"),
    "records": (_RECORDS, "A client may register any schema and send any bytes."),
    "headers": (_RECORDS, "at most the first 128 headers are read, and at most 64 KiB of them"),
    "header-names": (_RECORDS, "Bytes of a header's name that are not UTF-8 become U+FFFD"),
    "collide": (_ALIKE, "A table has a separate random key"),
    "own-limits": (_OWN, "Limits: 1,114,112 bytes a record, 65,536 items an array"),
    "own-names": (_OWN, "a name (model, version, arm, currency) has at most 1,024 bytes"),
    "listed": (_OWN, "lists the model store once for a batch"),
    "own-topics": (_OWN, "A record that cannot be read is skipped"),
    "inflated": (_BATCHES, "it skips no later record that can be read"),
    "labels": (_OWN, "There is no label. The profiler counts the record by reason"),
    "own-memory": (_OWN, "Each process keeps the newest 1,000 refused records, without body"),
    "own-windows": (_OWN, "The monitor has at most 10,000 open windows. If there are more, the"),
    "own-counts": (_OWN, "the controller also skip counts that no batch can have"),
    "plans": (_OWN, "It is listed in `rollout history` and changes nothing"),
    "plan-file": (_BUNDLES, "an unknown key, a value of the wrong type or out of its range"),
    "nesting": (_BUNDLES, "No TOML file may nest deeper than 64 levels"),
    "grants": (_GRANTS, "nothing in it is the trainer's choice except for the version"),
    "commands": (_OWN, "It is listed in `rollout history` and changes nothing"),
    "buckets": (_STATE, "A record that breaks a rule stops the start with exit code 9"),
    "once": (_STATE, "A customer must belong to the bucket that holds it, and be in it only once"),
    "fits": (_STATE, "A bucket must be consistent with the group's offset"),
    "mac-keys": (_STATE, "with one secret a line, hex or base64 of 32 bytes or more"),
    "mac": (_STATE, "A record without a MAC, or with a wrong one, is refused like a damaged one."),
    "budget": (_IDS, "A failed look-up costs a token."),
    "profiler-budget": (_IDS, "scorer, of the profiler and of `rekey` has this budget."),
    "id-range": (_IDS, "Id 0 and ids of 2^31 or more are not asked for"),
    "outage": (_IDS, "An outage (no connection, no answer, HTTP 401, 408"),
    "refused": (_IDS, "or refuses (HTTP 409, 422), is unknown"),
    "remembered": (_IDS, "Unknown ids are remembered for `registry.negative_cache_seconds`"),
    "references": (_IDS, "at most 64 references"),
    "failing": (_IDS, "one broken id does not stop a partition"),
    "answers": (_IDS, "refused if it is compressed, larger than 2 MiB, or not complete"),
    "shapes": (_BUNDLES, "coefficients, intercept, means and scales of exactly that shape"),
    "trees": (_BUNDLES, "A child is in its parent's tree and has no other parent"),
    "members": (_BUNDLES, "`model.skops` of format 1 has at most 20,001 members, each name once"),
    "lengths": (_BUNDLES, "each array has exactly as many bytes as its shape and type say"),
    "types": (_BUNDLES, "Types that are neither ours nor in `models.trusted_types` are refused"),
    "finite": (_BUNDLES, "finite; no scale is 0"),
    "files": (_BUNDLES, "A bundle that breaks a rule is refused with exit code 3"),
    "quarantine": (_FAILS, "The batch is halved until that record is found"),
    "eight": (_FAILS, "at most 8 records in a row, also over several batches."),
    "repeats": (_FAILS, "the same error comes from the same line of code again"),
    "not-records": (_FAILS, "operating system errors and outages are never blamed on a record"),
    "no-values": (_FAILS, "The record then goes to the dead letters as `INTERNAL`"),
    "hang": (_LIVE, "`/health/live` answers 503"),
    "heartbeat": (_LIVE, "A slow batch keeps the process alive"),
    "hang-least": (_LIVE, "computed for longer than `scorer.hang_seconds` (300) hangs"),
    "read-only": (_DEVELOPMENT, "It is read-only unless `--writable` is given"),
    "schema-ids": (_DEVELOPMENT, "So an id means one schema, also after a restart."),
    "beyond": (_DEVELOPMENT, "an address other than the loopback needs `--token-file FILE`"),
    "registry-token": (_DEVELOPMENT, "A client sends the token as bearer token"),
    "body": (_DEVELOPMENT, "A chunked body is refused (411), and so is a body over 1 MiB (413)"),
    "paths": (_DEVELOPMENT, "404 with Confluent's code, an unsupported method 405"),
    "subjects": (_DEVELOPMENT, "A subject has at most 1,024 characters, all of them printable"),
    "avro": (_DEVELOPMENT, "The registry holds only Avro schemas without references"),
    "versions": (_DEVELOPMENT, "at most 10,000 versions"),
    "levels": (_DEVELOPMENT, "a schema has at most 256 KiB and 256 levels (422)"),
    "content-type": (_DEVELOPMENT, "A body must be JSON by its `Content-Type` (else 415)"),
    "registered": (_RECORDS, "also refuse a schema that is malformed, or over a limit"),
    "directory": (_DEVELOPMENT, "One server at a time may write to a directory"),
    "connections": (_DEVELOPMENT, "At most 64 connections; further ones are closed."),
    "credentials": (_SECRETS, "registry.url"),
    "secret-files": (_SECRETS, "nor a user or password in `state.url` and `models.url`"),
    "secret-folder": (_SECRETS, "two files that name one setting, are refused"),
    "redactor": (_SECRETS, "One redactor"),
    "escaped-secrets": (_SECRETS, "escaped as in a URL, in JSON or by Python"),
    "verification": (_SECRETS, "print a warning with each command that needs a cluster"),
    "cache": (_CODE, "A folder is used if it, the files in it and all its parent folders"),
    "stamp": (_CODE, "Stored code is not used again once a source file (`.py`) changes"),
    "production": (_PRODUCTION, "makes every long-running process refuse unsafe settings"),
    "plaintext": (_PRODUCTION, "plaintext beyond loopback"),
    "endpoints": (_PRODUCTION, "the query of a store's URL (`scheme=http`,"),
    "tokens": (_PRODUCTION, "credentials in `sasl.oauthbearer.token.endpoint.url`, unsigned"),
    "verified": (_PRODUCTION, "options that switch off the verification of the brokers"),
    "registry-password": (_PRODUCTION, "a `registry.url` without `registry.user` and"),
    "signatures": (_PRODUCTION, "`models.require_signature` or `rollout.require_signature`"),
    "mac-key": (_PRODUCTION, "an empty `state.mac_key_file`"),
    "endpoint": (_PRODUCTION, "an `http.host` beyond loopback without"),
    "published": (_STACK, "nothing published beyond the loopback"),
    "checks": (_STACK, "three brokers, a read-only registry, the processes"),
    "scale": (_STACK, "`--scale scorer=2` works"),
    "reboot": (_STACK, "Everything comes back after a crash and after a reboot"),
    "locked": (_STACK, "with a read-only root, without capabilities"),
    "kernels": (_STACK, "Kernels are compiled when the image is built"),
    "brokers": (_STACK, "Brokers keep three copies of each record"),
    "segments": (_REJECTED, "a damaged segment, or a rejected offset at or after"),
    "ids": (_GROUP, "no instance name contains `:`, `/` or `@`"),
    "expelled": (_GROUP, "no member id, or a generation below 0, aborts"),
    "clock": (_GROUP, "**Suspension counts.**"),
    "reads": (_READS, "the **high watermark** that each partition had when they began"),
    "open": (_READS, "If a transaction is open then, the command waits for its end."),
    "stalled": (_READS, "waits for the broker for 30 s without gaining an offset"),
    "escaped": (_TERMINALS, "Every command escapes characters that are not printable"),
    "one-line": (_TERMINALS, "line breaks inside a value"),
    "markup": (_TERMINALS, "Markup such as `[/x]` or `[link=…]` is shown as text."),
    "error": (_TERMINALS, "An error is one line, whatever it quotes."),
    "shape": (_TERMINALS, "A record that does not have the fields of its topic is one line"),
    "times": (_TERMINALS, "Times outside of the calendar are shown in milliseconds."),
    "foreign": (_TERMINALS, "if no scorer can have written its `dlq.*` headers"),
    "replay": (_LETTERS, "only if the input holds the same value, key and headers"),
    "retention": (_LETTERS, "`--trust-headers` copies without comparing."),
    "omitted": (_LARGE, "the value is left out first, then the headers, then the key"),
    "long-key": (_LARGE, "or its key and the texts that its decision copies have more than"),
    "trace": (_LARGE, "A decision copies at most 8 KiB of a record's trace headers"),
    "omission": (_LETTERS, "with the lengths that the header names"),
    "threads": (_HTTP, "At most 8 requests are served at the same time"),
    "seconds": (_HTTP, "A connection is closed after 5 seconds"),
    "head": (_HTTP, "Request line and header fields together have at most 16 KiB"),
    "get-only": (_HTTP, "Only GET is served, and a body is not read."),
    "token": (_HTTP, "other requests get 401. A probe answers every request with the status."),
    "tls": (_HTTP, "serve HTTPS (TLS 1.2 or newer)"),
}  # fmt: skip
