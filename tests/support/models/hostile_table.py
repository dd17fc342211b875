"""The table of docs/MODELS.md: what an attacker did, how, and the reason of the refusal.

"signed" means that the trusted key signed it again: then it is refused for its content, whoever
signed it.
"""

import pickle

from tests.support.models.bundle_cases import replace
from tests.support.models.hostile import (
    Deed,
    added,
    elsewhere,
    flip,
    folder,
    forged,
    golden_off,
    instead,
    joblib_of,
    large,
    linked_folder,
    lists,
    manifest_says,
    manifest_text,
    members,
    model_is,
    objects,
    onnx,
    pipe,
    replayed,
    replayed_by_name,
    then_signed,
    unknown_type,
    written,
)

HOSTILE_2: tuple[tuple[str, Deed, str], ...] = (
    (
        "format 2: a flipped byte in the model",
        lambda s: flip(s.bundle / "model.safetensors"),
        "model.safetensors is not the file that the manifest names",
    ),
    (
        "format 2: a flipped byte in the original",
        lambda s: flip(s.bundle / "original.skops"),
        "original.skops is not the file that the manifest names",
    ),
    (
        "format 2: no original",
        lambda s: (s.bundle / "original.skops").unlink(),
        "original.skops is missing",
    ),
    (
        "format 2: a second original",
        written("original.json"),
        "original.json is not in the manifest",
    ),
    (
        "format 2: an original of 600 MiB",
        lambda s: large(s.bundle / "original.skops", 600 << 20),
        "original.skops is larger than 512 MiB",
    ),
    (
        "format 2: an original with another ending, signed",
        manifest_says("origin/file", "original.pkl"),
        "'original.pkl' is not a file of scikit_learn",
    ),
    (
        "format 2: a manifest that says format 1",
        manifest_says("format", 1),
        "format 1 has libraries, and no origin",
    ),
    (
        "format 2: a pickle in the model's place, signed",
        then_signed(
            lambda s: replace(s.bundle, "model.safetensors", pickle.dumps(s.bomb) + bytes(8))
        ),
        "model.safetensors: its header is longer than",
    ),
    (
        "format 2: the model of another version, signed",
        then_signed(
            lambda s: replace(
                s.bundle, "model.safetensors", (s.other / "model.safetensors").read_bytes()
            )
        ),
        "the content hash does not match the model",
    ),
    (
        "format 2: golden rows that score otherwise, signed",
        then_signed(golden_off),
        "golden vectors: a raw score is off",
    ),
)
"""The same for a bundle of format 2."""

HOSTILE: tuple[tuple[str, Deed, str], ...] = (
    # Found by the signature and the hashes.
    (
        "a flipped byte in the model",
        lambda s: flip(s.bundle / "model.skops"),
        "model.skops is not the file that the manifest names",
    ),
    (
        "a flipped byte in the golden rows",
        lambda s: flip(s.bundle / "golden.json"),
        "golden.json is not the file that the manifest names",
    ),
    (
        "a changed digit in the manifest",
        manifest_says("training/test/auc", 0.91),
        "signature.json is of another manifest.json",
    ),
    (
        "a flipped byte in the signature",
        lambda s: s.document(signature="A" * 86 + "=="),
        "signature.json is not a signature by release",
    ),
    (
        "a signature that is not base64",
        lambda s: s.document(signature="§"),
        "signature.json is not a signature by release",
    ),
    ("no signature", lambda s: (s.bundle / "signature.json").unlink(), "is not signed"),
    (
        "signed by a strange key",
        lambda s: s.seal(s.stranger),
        "signature.json is by an unknown key",
    ),
    (
        "signed by a strange key under the trusted key's id",
        forged,
        "signature.json is not a signature by release",
    ),
    ("algorithm none", lambda s: s.document(algorithm="none"), "algorithm 'none' is not supported"),
    (
        "algorithm HS256",
        lambda s: s.document(algorithm="HS256"),
        "algorithm 'HS256' is not supported",
    ),
    (
        "algorithm ed25519, in lower case",
        lambda s: s.document(algorithm="ed25519"),
        "algorithm 'ed25519' is not supported",
    ),
    ("another version's signature", replayed, "signature.json is of another bundle, 'fraud:1.0.1'"),
    (
        "another version's signature under this version's name",
        replayed_by_name,
        "signature.json is of another golden.json, manifest.json, model.skops",
    ),
    ("another signed version in this one's place", instead, "calls itself fraud:1.0.1"),
    (
        "a signature with an unknown JSON key",
        lambda s: s.document(trusted_types=["os.system"]),
        "signature.json: trusted_types: Extra inputs",
    ),
    (
        "a signature with its key id twice",
        written("signature.json", b'{"key_id":"a","key_id":"b"}'),
        "signature.json: the key 'key_id' is there twice",
    ),
    # Files in the folder.
    ("a file that is not listed", written("notes.txt"), "notes.txt is not in the manifest"),
    (
        "the model a second time, in capitals",
        written("MODEL.SKOPS"),
        "MODEL.SKOPS is not in the manifest",
    ),
    (
        "a second signature, in capitals",
        written("Signature.json"),
        "Signature.json is not in the manifest",
    ),
    ("a folder", lambda s: (s.bundle / "more").mkdir(), "more is not in the manifest"),
    ("no model", lambda s: (s.bundle / "model.skops").unlink(), "model.skops is missing"),
    ("no golden rows", lambda s: (s.bundle / "golden.json").unlink(), "golden.json is missing"),
    ("the model is a link", elsewhere("model.skops"), "model.skops is a link"),
    ("the manifest is a link", elsewhere("manifest.json"), "manifest.json is a link"),
    ("the signature is a link", elsewhere("signature.json"), "signature.json is a link"),
    ("the whole folder is a link", linked_folder, "is a link"),
    ("a pipe in a file's place", pipe, "golden.json is not a regular file"),
    ("a folder in a file's place", folder, "golden.json is not a regular file"),
    (
        "a pickle file",
        lambda s: written("model.pkl", pickle.dumps(s.bomb))(s),
        "model.pkl is a pickle or joblib file",
    ),
    (
        "a joblib file with a double ending",
        lambda s: written("model.joblib.gz", joblib_of(s))(s),
        "model.joblib.gz is a pickle or joblib file",
    ),
    ("ONNX with external data", onnx, "model.onnx belongs to ONNX"),
    (
        "a model of 600 MiB",
        lambda s: large(s.bundle / "model.skops", 600 << 20),
        "model.skops is larger than 512 MiB",
    ),
    (
        "a manifest of 2 MiB",
        lambda s: large(s.bundle / "manifest.json", 2 << 20),
        "manifest.json is larger than 1 MiB",
    ),
    (
        "a signature of 1 MiB",
        lambda s: large(s.bundle / "signature.json", 1 << 20),
        "signature.json is larger than 64 KiB",
    ),
    # Contents of the manifest.
    (
        "a manifest that is not JSON",
        manifest_text(lambda text: f"not {text}"),
        "manifest.json: Expecting",
    ),
    (
        "a manifest that is a list",
        manifest_text(lambda _: "[]"),
        "manifest.json: is not a JSON object",
    ),
    (
        "a manifest in UTF-16",
        manifest_text(lambda text: text.encode("utf-16")),
        "manifest.json: 'utf-8' codec can't decode",
    ),
    (
        "a manifest nested 100,000 deep",
        manifest_text(lambda _: '{"a":' * 100_000),
        "manifest.json: nested deeper than 200 levels",
    ),
    (
        "the key thresholds twice",
        manifest_text(
            lambda text: text.replace(
                '"parameters"', '"thresholds": {"review": 0.9, "block": 0.99}, "parameters"', 1
            )
        ),
        "the key 'thresholds' is there twice",
    ),
    (
        "the keys thresholds and Thresholds",
        manifest_text(
            lambda text: text.replace('"parameters"', '"Thresholds": {}, "parameters"', 1)
        ),
        "the keys 'thresholds' and 'Thresholds' differ in their case alone",
    ),
    (
        "a list of trusted types in the manifest",
        manifest_says("trusted_types", ["os.system"]),
        "manifest.json: trusted_types: Extra inputs",
    ),
    (
        "a listed file ../model.skops",
        lists("../model.skops"),
        "'../model.skops' is not a plain file name",
    ),
    ("a listed file /etc/passwd", lists("/etc/passwd"), "'/etc/passwd' is not a plain file name"),
    (
        "a listed file a/../model.skops",
        lists("a/../model.skops"),
        "'a/../model.skops' is not a plain file name",
    ),
    (
        "a listed file Model.skops",
        lists("Model.skops"),
        "the manifest lists Model.skops, golden.json",
    ),
    (
        "a hash in capitals",
        manifest_says("content_hash", "A" * 64),
        "manifest.json: content_hash: String should match",
    ),
    (
        "a threshold NaN",
        manifest_text(lambda text: text.replace('"review": 0.5', '"review": NaN', 1)),
        "manifest.json: NaN is not a JSON number",
    ),
    (
        "a threshold of the text nan",
        manifest_says("thresholds/review", "nan"),
        "thresholds.review: Input should be a finite number",
    ),
    (
        "thresholds out of order",
        manifest_says("thresholds/review", 0.95),
        "0 < review <= block <= 1 does not hold",
    ),
    (
        "a kind of feature that the engine does not have, signed",
        then_signed(manifest_says("features/1", {"name": "NIGHT", "kind": "moon"})),
        "kind 'moon'",
    ),
    (
        "a later engine, signed",
        then_signed(manifest_says("engine", 99)),
        "made for feature engine 99",
    ),
    (
        "other thresholds, signed",
        then_signed(manifest_says("thresholds/review", 0.6)),
        "the content hash does not match",
    ),
    (
        "golden rows that score otherwise, signed",
        then_signed(golden_off),
        "golden vectors: a raw score is off",
    ),
    # Contents of the model file.
    (
        "a pickle in the model's place, signed",
        model_is(lambda s: pickle.dumps(s.bomb)),
        "model.skops is not a skops file",
    ),
    (
        "a joblib file in the model's place, signed",
        model_is(joblib_of),
        "model.skops is not a skops file",
    ),
    (
        "a pickle in front of the model, signed",
        model_is(lambda s: pickle.dumps(s.bomb) + (s.bundle / "model.skops").read_bytes()),
        "model.skops is not a skops file",
    ),
    (
        "a pickle inside the model, signed",
        added("extra.pkl", b"\x80\x05."),
        "model.skops holds 'extra.pkl'",
    ),
    (
        "a member that leads out of the model, signed",
        added("../evil.json", b"{}"),
        "model.skops holds '../evil.json'",
    ),
    (
        "pickled objects in an array, signed",
        lambda s: members(lambda name, old: [(name, objects(s) if name.endswith(".npy") else old)])(
            s
        ),
        "model.skops cannot be loaded",
    ),
    (
        "a type that is not trusted, signed",
        model_is(unknown_type),
        "types that are not trusted: sklearn.ensemble._gb.Strange",
    ),
    (
        "a model that unpacks to 1 GiB, signed",
        added("bomb.npy", bytes((1 << 30) + 1)),
        "model.skops unpacks to over 576 MiB",
    ),
)
