"""Bearer tokens: forged, expired and foreign ones are refused, each for its reason."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from stream_scorer.security.token_keys import KeyAges, TokenKeys, read_jwks
from stream_scorer.security.tokens import (
    TOKEN_BYTES_MOST,
    TokenRefusedError,
    TokenRules,
    TokenVerifier,
    VerifiedToken,
)
from tests.support.serving.access import AUDIENCE, ISSUER, NOW, Issuer, Time, claims_with, segment

RULES = TokenRules(
    issuer=ISSUER, audience=AUDIENCE, leeway=30.0, lifetime=3_600.0, scopes_claim="scope",
    scopes={"scorer.decide": ("score", "read"), "scorer.run": ("operate",)},
)  # fmt: skip


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


class Verifying:
    """A verifier with an issuer's keys."""

    def __init__(self, issuer: Issuer, **rules: Any) -> None:
        self.time = Time()
        self.document = issuer.document()
        self.keys = TokenKeys(
            lambda: read_jwks(self.document, ("RS256", "ES256", "EdDSA")),
            KeyAges(600.0, 30.0, 3_600.0),
            lambda *_: None,
            self.time,
        )
        self.keys.refresh()
        table = {name: getattr(RULES, name) for name in RULES.__slots__}
        self.verifier = TokenVerifier(TokenRules(**table | rules), self.keys)

    def __call__(self, token: str, now: float = NOW) -> VerifiedToken:
        return self.verifier.verify(token, now)

    def fault(self, token: str, now: float = NOW) -> str:
        with pytest.raises(TokenRefusedError) as refused:
            self.verifier.verify(token, now)
        assert "{" not in refused.value.detail
        assert self.verifier.kept(token, now) is None
        return refused.value.fault


@pytest.fixture
def verify(issuer: Issuer) -> Verifying:
    return Verifying(issuer)


@pytest.mark.parametrize("name", ["rsa", "ec", "ed"])
def test_a_valid_token_of_each_algorithm_is_verified(
    verify: Verifying, issuer: Issuer, name: str
) -> None:
    found = verify(issuer.token(name))
    assert found.subject == "shop-7"
    assert found.scopes == {"score", "read"}
    assert (found.begin, found.end, found.key.id) == (NOW, NOW + 600, name)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_an_unsigned_token_is_refused(verify: Verifying, algorithm: str) -> None:
    body = segment(claims_with())
    for header in ({"alg": algorithm}, {"alg": algorithm, "kid": "rsa"}):
        for signature in ("", segment(b"x")):
            found = verify.fault(f"{segment(header)}.{body}.{signature}")
            assert found in {"token_malformed", "token_algorithm"}


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("name", ["rsa", "ec", "ed"])
def test_a_public_key_is_never_the_secret_of_an_hmac(
    verify: Verifying, issuer: Issuer, name: str, algorithm: str
) -> None:
    signed = f"{segment({'alg': algorithm, 'kid': name})}.{segment(claims_with())}"
    for secret in (issuer.public_pem(name), json.dumps(issuer.jwk(name)).encode(), b""):
        digest = hmac.new(secret, signed.encode(), getattr(hashlib, f"sha{algorithm[2:]}"))
        assert verify.fault(f"{signed}.{segment(digest.digest())}") == "token_algorithm"


def test_an_algorithm_of_another_key_type_is_refused(verify: Verifying, issuer: Issuer) -> None:
    _, key = issuer.keys["rsa"]
    for algorithm, name in (("RS256", "ec"), ("RS256", "ed"), ("RS512", "rsa"), ("PS256", "rsa")):
        token = jwt.encode(claims_with(), key, algorithm, headers={"kid": name})
        assert verify.fault(token) == "token_algorithm"


def test_a_signature_of_another_key_is_refused(verify: Verifying, issuer: Issuer) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    forged = jwt.encode(claims_with(), stranger, "ES256", headers={"kid": "ec"})
    assert verify.fault(forged) == "token_signature"
    head, body, signature = issuer.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    richer = segment(claims | {"scope": "scorer.run"})
    assert verify.fault(f"{head}.{richer}.{signature}") == "token_signature"
    assert verify.fault(f"{head}.{body}.{segment(bytes(64))}") == "token_signature"
    other = segment({"alg": "ES256", "kid": "ec", "typ": "at+jwt"})
    assert verify.fault(f"{other}.{body}.{signature}") == "token_signature"


def test_keys_inside_a_token_are_not_used(verify: Verifying, issuer: Issuer) -> None:
    stranger = Issuer()
    tricks: list[dict[str, Any]] = [
        {"jwk": stranger.jwk("ec")},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIB"]},
    ]
    for trick in tricks:
        assert verify.fault(stranger.token("ec", trick)) == "token_signature"
        assert verify(issuer.token("ec", trick)).subject == "shop-7"
    assert verify.fault(stranger.token("ec", {"kid": "evil"} | tricks[0])) == "token_key"


@pytest.mark.parametrize(
    "identity",
    [
        "unknown", "", "../../../../dev/null", "/etc/passwd", "ec\x00", "ec'; DROP TABLE keys;--",
        "https://evil.example/key", "__class__", "EC", "ec ", "x" * 5_000,
    ],
)  # fmt: skip
def test_a_key_id_is_only_looked_up(verify: Verifying, issuer: Issuer, identity: str) -> None:
    assert verify.fault(issuer.token("ec", {"kid": identity})) == "token_key"


@pytest.mark.parametrize("identity", [None, 7, ["ec"], {"a": 1}, True])
def test_a_key_id_is_a_text(verify: Verifying, issuer: Issuer, identity: object) -> None:
    header = {"alg": "ES256", "kid": identity}
    _, body, signature = issuer.token().split(".")
    assert verify.fault(f"{segment(header)}.{body}.{signature}") == "token_malformed"
    del header["kid"]
    assert verify.fault(f"{segment(header)}.{body}.{signature}") == "token_malformed"


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "logout+jwt"}, {"typ": "dpop+jwt"}, {"typ": 7}, {"crit": ["exp"]}, {"crit": []},
        {"b64": False, "crit": ["b64"]}, {"b64": True}, {"alg": ["ES256"]}, {"alg": None},
    ],
)  # fmt: skip
def test_other_kinds_of_tokens_are_refused(
    verify: Verifying, issuer: Issuer, header: dict[str, Any]
) -> None:
    _, body, signature = issuer.token().split(".")
    made = {"alg": "ES256", "kid": "ec", "typ": "JWT"} | header
    assert verify.fault(f"{segment(made)}.{body}.{signature}") == "token_malformed"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_access_tokens_may_name_their_type(verify: Verifying, issuer: Issuer, kind: str) -> None:
    assert verify(issuer.token("ec", {"typ": kind})).subject == "shop-7"


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"iss": "https://evil.example/"}, "token_issuer"),
        ({"iss": ISSUER.rstrip("/")}, "token_issuer"),
        ({"iss": ISSUER.upper()}, "token_issuer"),
        ({"aud": "another-api"}, "token_audience"),
        ({"aud": ["another-api", "third"]}, "token_audience"),
        ({"aud": f"{AUDIENCE}-admin"}, "token_audience"),
        ({"aud": {"a": AUDIENCE}}, "token_audience"),
        ({"aud": [AUDIENCE, 7]}, "token_audience"),
        ({"iss": None}, "token_claims"),
        ({"aud": None}, "token_claims"),
        ({"sub": None}, "token_claims"),
        ({"iat": None}, "token_claims"),
        ({"exp": None}, "token_claims"),
        ({"sub": ""}, "token_claims"),
        ({"sub": 7}, "token_claims"),
        ({"sub": "x" * 129}, "token_claims"),
        ({"sub": "a b"}, "token_claims"),
        ({"sub": "a\nb"}, "token_claims"),
        ({"sub": "na\u00efve"}, "token_claims"),
        ({"sub": "a\u202eb"}, "token_claims"),
        ({"exp": True}, "token_claims"),
        ({"exp": "9999999999"}, "token_claims"),
        ({"exp": -1}, "token_claims"),
        ({"exp": 2**80}, "token_claims"),
        ({"iat": [1]}, "token_claims"),
        ({"nbf": "soon"}, "token_claims"),
        ({"exp": NOW + 3_600.5}, "token_claims"),
        ({"scope": 7}, "token_claims"),
        ({"scope": {"scorer.decide": 1}}, "token_claims"),
        ({"scope": ["x"] * 1_001}, "token_claims"),
    ],
)
def test_each_wrong_claim_is_refused(
    verify: Verifying, issuer: Issuer, claims: dict[str, Any], fault: str
) -> None:
    body = segment(claims_with(**claims))
    head = segment({"alg": "ES256", "kid": "ec"})
    signer = jwt.get_algorithm_by_name("ES256")
    signature = signer.sign(f"{head}.{body}".encode(), issuer.keys["ec"][1])
    assert verify.fault(f"{head}.{body}.{segment(signature)}") == fault


@pytest.mark.parametrize(
    "body",
    [
        b'{"sub": "a", "sub": "b"}', b'{"exp": NaN}', b'{"exp": Infinity}', b"[]", b"7", b"",
        b"\xff\xfe", b"{" * 3_000, b'{"a":' * 300 + b"1" + b"}" * 300,
    ],
)  # fmt: skip
def test_ambiguous_json_is_refused_though_signed(
    verify: Verifying, issuer: Issuer, body: bytes
) -> None:
    head = segment({"alg": "ES256", "kid": "ec"})
    signed = f"{head}.{segment(body)}"
    signature = jwt.get_algorithm_by_name("ES256").sign(signed.encode(), issuer.keys["ec"][1])
    assert verify.fault(f"{signed}.{segment(signature)}") == "token_malformed"


def test_a_claim_of_infinite_time_is_refused(verify: Verifying, issuer: Issuer) -> None:
    text = json.dumps(claims_with()).replace(str(int(NOW) + 600), "1e999")
    signed = f"{segment({'alg': 'ES256', 'kid': 'ec'})}.{segment(text.encode())}"
    signature = jwt.get_algorithm_by_name("ES256").sign(signed.encode(), issuer.keys["ec"][1])
    assert verify.fault(f"{signed}.{segment(signature)}") == "token_claims"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d",
        "a..c",
        " a.b.c",
        "a.b.c ",
        "a.b.c\n",
        "a=.b.c",
        "é.b.c",
        "\ud800.b.c",
        "a.b.c,d",
        "eyJ9.eyJ9.eyJ9",
        "²a.bb.cc",
    ],
)
def test_what_is_not_a_token_is_refused(verify: Verifying, token: str) -> None:
    assert verify.fault(token) == "token_malformed"


def test_a_token_is_bounded(verify: Verifying, issuer: Issuer) -> None:
    short = len(issuer.token("ec", note=""))
    room = (TOKEN_BYTES_MOST - short) * 3 // 4 - 3
    fits = issuer.token("ec", note="x" * room)
    assert TOKEN_BYTES_MOST - 8 < len(fits) <= TOKEN_BYTES_MOST
    assert verify(fits).subject == "shop-7"
    assert verify.fault(issuer.token("ec", note="x" * (room + 8))) == "token_malformed"
    begin = time.thread_time()
    assert verify.fault("a" * 10_000_000) == "token_malformed"
    assert time.thread_time() - begin < 1.0


def test_a_token_expires_at_its_end_and_the_leeway(verify: Verifying, issuer: Issuer) -> None:
    token = issuer.token()
    assert verify.fault(token, NOW + 630.0) == "token_expired"
    assert verify(token, NOW + 629.999).end == NOW + 600


def test_a_token_begins_before_its_time_by_the_leeway(verify: Verifying, issuer: Issuer) -> None:
    assert verify.fault(issuer.token(), NOW - 30.001) == "token_early"
    assert verify(issuer.token(), NOW - 30.0).begin == NOW
    later = issuer.token("ec", nbf=int(NOW) + 100)
    assert verify.fault(later, NOW + 69.999) == "token_early"
    assert verify(later, NOW + 70.0).begin == NOW + 100
    # An early nbf does not make a token of the future valid.
    future = issuer.token("ec", nbf=0, iat=int(NOW) + 100, exp=int(NOW) + 200)
    assert verify.fault(future) == "token_early"


def test_a_kept_token_is_judged_again_by_time(verify: Verifying, issuer: Issuer) -> None:
    token = issuer.token()
    assert verify.verifier.kept(token, NOW) is None
    found = verify(token)
    assert verify.verifier.kept(token, NOW) is found
    with pytest.raises(TokenRefusedError, match="expired"):
        verify.verifier.kept(token, NOW + 630.0)


def test_a_kept_token_ends_with_its_key(verify: Verifying, issuer: Issuer) -> None:
    token = issuer.token("ed")
    verify(token)
    verify.document = issuer.document("ec", "rsa")
    verify.keys.refresh()
    assert verify.verifier.kept(token, NOW) is None
    assert verify.fault(token) == "token_key"


def test_the_kept_tokens_are_bounded(
    verify: Verifying, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_scorer.security.tokens._KEPT_MOST", 3)
    tokens = [issuer.token("ec", jti=str(number)) for number in range(4)]
    for token in tokens[:3]:
        verify(token)
    assert verify.verifier.kept(tokens[0], NOW)
    verify(tokens[3])
    # The one that was unused for the longest time is gone.
    kept = [verify.verifier.kept(token, NOW) is not None for token in tokens]
    assert kept == [True, False, True, True]


@pytest.mark.parametrize(
    ("given", "scopes"),
    [
        ("", set()),
        ("openid email", set()),
        ("scorer.decide scorer.run", {"score", "read", "operate"}),
        (["scorer.run", 7, None, ["scorer.decide"]], {"operate"}),
        ("SCORER.RUN", set()),
        ("scorer.runx scorer.ru", set()),
        ("admin", set()),
    ],
)
def test_only_mapped_values_give_scopes(
    verify: Verifying, issuer: Issuer, given: object, scopes: set[str]
) -> None:
    assert verify(issuer.token("ec", scope=given)).scopes == scopes


def test_scopes_may_be_in_another_claim(issuer: Issuer) -> None:
    verify = Verifying(issuer, scopes_claim="https://example/roles")
    claims: dict[str, Any] = {"https://example/roles": ["scorer.run"]}
    token = issuer.token("ec", None, **claims)
    assert verify(token).scopes == {"operate"}
    assert verify(issuer.token()).scopes == set()
