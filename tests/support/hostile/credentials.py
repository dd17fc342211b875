"""Hostile credentials: tokens, API keys, forged certificates, and pages of browsers."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt

from stream_scorer.security.api_keys import generate_key
from tests.support.hostile.case import HostileRequest
from tests.support.openapi.raw_requests import RawAnswer, ask
from tests.support.openapi.served_api import MODEL, ServedApi, fresh_claims
from tests.support.serving.access import Issuer, clients_in, make_key, segment

Text = Callable[[ServedApi], str]
PATH = f"/v2/models/{MODEL}"
HOUR = 3_600
NO_KEY = "does not have the token's key"
NOT_A_KEY = "is not an API key"
NO_SCHEME = "send Authorization: Bearer"
STRANGER = Issuer()
"""Signs with keys that the server does not know."""


def with_fields(make: Callable[[ServedApi], Mapping[str, str]]) -> Callable[[ServedApi], RawAnswer]:
    """Return what asks for a model's metadata with some header fields."""
    return lambda api: ask(api, "GET", PATH, list(make(api).items()))


def bearer(make: Text) -> Callable[[ServedApi], RawAnswer]:
    """Return what asks with a bearer credential."""
    return with_fields(lambda api: {"authorization": f"Bearer {make(api)}"})


def refused(cause: str, rule: str, make: Text, words: str = "") -> HostileRequest:
    """Return a request whose credential is refused."""
    return HostileRequest(cause, rule, 401, bearer(make), words)


def signed(payload: bytes, issuer: Issuer, name: str = "ec", **header: Any) -> str:
    """Return a token whose claims are given as bytes."""
    algorithm, key = issuer.keys[name]
    own = {"kid": name, **header}
    return jwt.PyJWS().encode(payload, key, algorithm, headers=own)


def unsigned(algorithm: Any, *, signature: str = "", **more: Any) -> Text:
    """Return a token without a signature by a key."""
    header = {"typ": "JWT", "kid": "ec", "alg": algorithm, **more}
    return lambda _: f"{segment(header)}.{segment(fresh_claims())}.{signature}"


def hmac_with(secret: Callable[[ServedApi], bytes], kid: str = "rsa") -> Text:
    """Return a token whose HMAC has a public key as its secret."""

    def make(api: ServedApi) -> str:
        header = {"typ": "JWT", "alg": "HS256", "kid": kid}
        first = f"{segment(header)}.{segment(fresh_claims())}"
        digest = hmac.new(secret(api), first.encode(), hashlib.sha256).digest()
        return f"{first}.{segment(digest)}"

    return make


def claims(**changed: Any) -> Text:
    return lambda api: api.token(**changed)


def moved(seconds: int, length: int = 600) -> Text:
    """Return a token that begins some seconds from now."""

    def make(api: ServedApi) -> str:
        begin = fresh_claims()["iat"] + seconds
        return api.token(iat=begin, exp=begin + length)

    return make


def renamed(kid: Any) -> Text:
    """Return a token of another key, under a hostile key id."""
    return lambda _: STRANGER.token("ec", {"kid": kid}, **fresh_claims())


def carried(**header: Any) -> Text:
    """Return a token that brings its own key."""
    return lambda _: STRANGER.token("ec", {"kid": "mine", **header}, **fresh_claims())


def changed(make: Text, at: int, letter: str) -> Text:
    """Return a token with one letter of its signature replaced."""

    def other(api: ServedApi) -> str:
        token = make(api)
        first, _, signature = token.rpartition(".")
        place = at % len(signature)
        new = letter if signature[place] != letter else "B"
        return f"{first}.{signature[:place]}{new}{signature[place + 1 :]}"

    return other


def with_claims_of_another(api: ServedApi) -> str:
    first, _, third = api.token().split(".")
    return f"{first}.{segment(fresh_claims() | {'sub': 'admin'})}.{third}"


def raw_claims(text: Callable[[str], str]) -> Text:
    """Return a signed token whose claims' JSON was changed before it was signed."""
    return lambda api: signed(text(json.dumps(fresh_claims())).encode(), api.issuer)


def hostile_clients(folder: Path) -> dict[str, str]:
    """Add clients that are refused to the clients file of a folder; return their keys by name."""
    changes = clients_in(folder)
    now = datetime.now(UTC)
    soon, before, after = (now + timedelta(**each) for each in (
        {"seconds": 1}, {"days": -1}, {"days": 1}))  # fmt: skip
    made = changes.add("old-key", scopes=["score"], key_expires=soon)
    assert made is not None
    keys = {
        "old-key": made.text, "disabled": make_key(folder, "disabled"),
        "expired": make_key(folder, "expired", not_before=now - timedelta(days=2), expires=before),
        "early": make_key(folder, "early", not_before=after),
    }  # fmt: skip
    changes.disable("disabled")
    return keys


def padded(api: ServedApi) -> str:
    first, second, third = api.token().split(".")
    return f"{first}==.{second}.{third}"


def with_plus(api: ServedApi) -> str:
    first, _, third = api.token().split(".")
    return f"{first}.{base64.b64encode(json.dumps(fresh_claims()).encode()).decode()}.{third}"


def two_claims(text: str) -> str:
    return text[:-1] + ', "sub": "admin"}'


TOKENS = (
    refused("token: alg none", "unsigned", unsigned("none"), ""),
    refused("token: alg None", "unsigned", unsigned("None")),
    refused("token: alg nOnE with a signature", "unsigned", unsigned("nOnE", signature="AAAA")),
    refused("token: alg is empty", "unsigned", unsigned("")),
    refused("token: alg is null", "unsigned", unsigned(None)),
    refused("token: alg is a list", "unsigned", unsigned(["none"])),
    refused("token: no signature", "signature", lambda api: api.token().rpartition(".")[0] + "."),
    refused("token: HMAC with the public key (PEM)", "hmac",
            hmac_with(lambda api: api.issuer.public_pem("rsa"))),
    refused("token: HMAC with the public key (JWK)", "hmac",
            hmac_with(lambda api: json.dumps(api.issuer.jwk("rsa")).encode())),
    refused("token: HMAC with an EC key", "hmac",
            hmac_with(lambda api: api.issuer.public_pem("ec"), "ec")),
    refused("token: HMAC without a secret", "hmac", hmac_with(lambda _: b"")),
    refused("token: RS256 under the id of an EC key", "algorithm",
            lambda api: api.token("rsa", {"kid": "ec"}), "algorithm"),
    refused("token: ES256 under the id of an RSA key", "algorithm",
            lambda api: api.token("ec", {"kid": "rsa"}), "algorithm"),
    refused("token: signed by another key", "signature",
            lambda _: STRANGER.token("ec", **fresh_claims()), "signature"),
    refused("token: a changed signature", "signature", changed(claims(), 3, "A"), "signature"),
    refused("token: claims of another token", "signature",
            with_claims_of_another, "signature"),
    *(
        refused(f"token: kid is {name}", "kid", renamed(kid), NO_KEY)
        for name, kid in {
            "a path": "../../../../dev/null", "an absolute path": "/proc/self/environ",
            "SQL": "x' UNION SELECT 'key' --", "a URL": "https://evil.example/key",
            "a command": "|/usr/bin/id", "a NUL": "ec\0", "a template": "${jndi:ldap://evil/x}",
            "2,000 letters": "k" * 2_000, "the other case": "EC", "empty": "",
        }.items()
    ),
    refused("token: kid is a list", "kid",
            unsigned("ES256", signature="AAAA", kid=["ec"]), "names no key"),
    refused("token: brings its key (jwk)", "embedded",
            carried(jwk=STRANGER.jwk("ec")), NO_KEY),
    refused("token: names a key server (jku)", "embedded",
            carried(jku="https://evil.example/jwks.json"), NO_KEY),
    refused("token: names a certificate (x5u)", "embedded",
            carried(x5u="https://evil.example/cert.pem"), NO_KEY),
    refused("token: brings a certificate (x5c)", "embedded",
            carried(x5c=["MIIB"]), NO_KEY),
    refused("token: crit", "extensions", lambda api: api.token(header={"crit": ["exp"]}),
            "extension"),
    refused("token: b64 false", "extensions", lambda api: api.token(header={"b64": False})),
    refused("token: of another type", "extensions",
            lambda api: api.token(header={"typ": "dpop+jwt"}), "another type"),
    refused("token: a claim twice", "token json", raw_claims(two_claims)),
    refused("token: NaN for a time", "token json",
            raw_claims(lambda text: text[:-1] + ', "nbf": NaN}')),
    refused("token: deep claims", "token json",
            raw_claims(lambda text: f'{text[:-1]}, "x": {"[" * 2_000}{"]" * 2_000}}}')),
    refused("token: claims are a list", "token json", raw_claims(lambda text: f"[{text}]")),
    refused("token: claims are not JSON", "token json", raw_claims(lambda _: "sub=shop")),
    refused("token: another issuer", "other service", claims(iss="https://evil.example/"),
            "another issuer"),
    refused("token: the issuer without its slash", "other service",
            claims(iss="https://login.example")),
    refused("token: another audience", "other service", claims(aud="another-api"), "audience"),
    refused("token: no audience", "claims", claims(aud=None)),
    refused("token: no issuer", "claims", claims(iss=None)),
    refused("token: no subject", "claims", claims(sub=None), "sub"),
    refused("token: an empty subject", "claims", claims(sub="")),
    refused("token: a subject with a line break", "claims", claims(sub="a\nlevel=error"), "sub"),
    refused("token: no exp", "claims", claims(exp=None), "exp"),
    refused("token: no iat", "claims", claims(iat=None), "iat"),
    refused("token: exp is a text", "claims", claims(exp="never")),
    refused("token: exp is true", "claims", claims(exp=True)),
    refused("token: exp is 1e400", "claims", raw_claims(
        lambda text: text.replace('"exp": ', '"exp": 1e400, "old": '))),
    refused("token: valid for a year", "claims", moved(0, 365 * 24 * HOUR), "too long"),
    refused("token: expired", "time", moved(-HOUR), "expired"),
    refused("token: of the future", "time", moved(HOUR), "not valid yet"),
    refused("token: nbf in the future", "time",
            lambda api: api.token(nbf=fresh_claims()["iat"] + 300), "not valid yet"),
    HostileRequest("token: a scope that is not mapped", "mapped", 403,
                   bearer(claims(scope="admin score")), "scope"),
    refused("token: scopes are an object", "claims", claims(scope={"score": True}), "scopes"),
    refused("token: 9 KiB", "token form", claims(pad="x" * 7_000), "8 KiB"),
    refused("token: two parts", "token form", lambda _: "e30.e30", ""),
    refused("token: five parts", "token form", lambda _: "e30.e30.e30.e30.e30"),
    refused("token: padded base64", "token form", padded),
    refused("token: another base64", "token form", with_plus),
)  # fmt: skip

KEYS = (
    HostileRequest("key: none", "credential", 401, lambda api: ask(api, "GET", PATH)),
    refused("key: unknown", "key", lambda _: generate_key().text, "not known"),
    refused("key: a wrong checksum", "key form",
            lambda api: api.keys["shop"][:-1] + ("a" if api.keys["shop"][-1] != "a" else "b"),
            NOT_A_KEY),
    refused("key: cut off", "key form", lambda api: api.keys["shop"][:-5], NOT_A_KEY),
    refused("key: a letter more", "key form", lambda api: f"{api.keys['shop']}a", NOT_A_KEY),
    refused("key: the other case", "key form", lambda api: api.keys["shop"].upper()),
    refused("key: two keys in one", "key form",
            lambda api: f"{api.keys['shop']},{api.keys['operator']}", NOT_A_KEY),
    refused("key: a blank after it", "key form", lambda api: f"{api.keys['shop']} x", NOT_A_KEY),
    refused("key: 8,000 letters", "key form", lambda _: "ssk_" + "a" * 8_000, NOT_A_KEY),
    refused("key: expired", "key expiry", lambda api: api.keys["old-key"], "key has expired"),
    refused("client: disabled", "client", lambda api: api.keys["disabled"], "is disabled"),
    refused("client: expired", "client", lambda api: api.keys["expired"], "client has expired"),
    refused("client: not valid yet", "client", lambda api: api.keys["early"], "not valid yet"),
    HostileRequest("key: as Basic", "credential", 401, with_fields(
        lambda api: {"authorization": "Basic " + segment(f"{api.keys['shop']}:".encode())}),
        NO_SCHEME),
    HostileRequest("key: under another scheme", "credential", 401, with_fields(
        lambda api: {"authorization": f"Basic {api.keys['shop']}"}), NO_SCHEME),
    HostileRequest("key: without a scheme", "credential", 401, with_fields(
        lambda api: {"authorization": api.keys["shop"]}), NO_SCHEME),
    HostileRequest("key: in the query", "credential", 401, lambda api: ask(
        api, "GET", f"{PATH}?access_token={api.keys['shop']}")),
    HostileRequest("key: in a cookie", "credential", 401, with_fields(
        lambda api: {"cookie": f"authorization={api.keys['shop']}"})),
    HostileRequest("key: in another field", "credential", 401, with_fields(
        lambda api: {"x-api-key": api.keys["shop"]})),
    HostileRequest("key: two fields", "fields", 400, lambda api: ask(
        api, "GET", PATH, [("authorization", api.credential()), ("authorization", "Bearer x")])),
    HostileRequest("scope: operate only", "scope", 403, with_fields(
        lambda api: {"authorization": api.credential("operator")}), "score"),
    HostileRequest("scope: read only", "scope", 403, with_fields(
        lambda api: {"authorization": api.credential("auditor")}), "score"),
    HostileRequest("scope: the document without score or read", "scope", 403, lambda api: ask(
        api, "GET", "/openapi.json", [("authorization", api.credential("operator"))])),
    HostileRequest("credential: the document without one", "credential", 401,
                   lambda api: ask(api, "GET", "/openapi.json")),
    HostileRequest("rate: used up", "rate", 429, lambda api: [
        ask(api, "GET", PATH, [("authorization", api.credential("eager"))]) for _ in range(2)][1]),
)  # fmt: skip

_SUBJECT = {"x-client-certificate-subject": "CN=shop", "x-client-certificate-verified": "SUCCESS"}
CERTIFICATES = tuple(
    HostileRequest(f"certificate: {name}", "certificate", 401, with_fields(make), "certificate")
    for name, make in {
        "a forged subject": lambda _: _SUBJECT,
        "a forged subject next to a valid key": lambda api: {
            **_SUBJECT, "authorization": api.credential()},
        "a forged subject next to a valid token": lambda api: {
            **_SUBJECT, "authorization": f"Bearer {api.token()}"},
        "a forged verification alone": lambda api: {
            "x-client-certificate-verified": "SUCCESS", "authorization": api.credential()},
        "an empty forged subject": lambda api: {
            "x-client-certificate-subject": "", "authorization": api.credential()},
        "a forged subject in another case": lambda api: {
            "X-Client-Certificate-Subject": "CN=shop", "authorization": api.credential()},
        "a forged subject from a forged address": lambda _: {
            **_SUBJECT, "x-forwarded-for": "unix", "x-real-ip": "127.0.0.1"},
    }.items()
)  # fmt: skip

PAGES = tuple(
    HostileRequest(f"page: {name}", "page", 403, with_fields(make), "web pages")
    for name, make in {
        "another origin": lambda api: {
            "origin": "https://evil.example", "authorization": api.credential()},
        "the origin null": lambda api: {"origin": "null", "authorization": api.credential()},
        "a cross-site fetch": lambda api: {
            "sec-fetch-site": "cross-site", "authorization": api.credential()},
    }.items()
)  # fmt: skip
