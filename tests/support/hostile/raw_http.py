"""Requests as bytes: smuggling, and heads, paths and bodies that are refused."""

HOST = b"Host: x\r\nAuthorization: Bearer shop\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"


def get(path: bytes = b"/wait/0", fields: bytes = HOST) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + fields + b"\r\n"


def post(fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST /echo HTTP/" + version + b"\r\n" + JSON + fields + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"
NEXT = get(b"/wait/0.0")
SMUGGLING = {
    "length and chunks": (post(b"Content-Length: 4\r\n" + CHUNKED, b"0\r\n\r\n" + NEXT), 200),
    "chunks and length": (post(CHUNKED + b"Content-Length: 4\r\n", b"0\r\n\r\n" + NEXT), 200),
    "two lengths": (post(b"Content-Length: 4\r\nContent-Length: 5\r\n", b"1234" + NEXT), 400),
    "list of lengths": (post(b"Content-Length: 4, 5\r\n", b"1234" + NEXT), 400),
    "signed length": (post(b"Content-Length: +4\r\n", b"1234" + NEXT), 400),
    "negative length": (post(b"Content-Length: -4\r\n", b"1234" + NEXT), 400),
    "hexadecimal length": (post(b"Content-Length: 0x4\r\n", b"1234" + NEXT), 400),
    "length of 24 digits": (post(b"Content-Length: " + b"9" * 24 + b"\r\n", b"1234" + NEXT), 400),
    "unknown coding": (post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + NEXT), 400),
    "two codings": (post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n" + NEXT), 400),
    "chunked twice": (post(CHUNKED + CHUNKED, b"0\r\n\r\n" + NEXT), 400),
    "chunked not last": (post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n" + NEXT), 400),
    "coding after a vertical tab": (
        post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n" + NEXT),
        400,
    ),
    "space before the colon": (post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n" + NEXT), 400),
    "folded coding": (post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n" + NEXT), 400),
    "chunks in HTTP/1.0": (post(CHUNKED, b"0\r\n\r\n" + NEXT, b"1.0"), 400),
    "chunk size is no number": (post(CHUNKED, b"zz\r\n12\r\n0\r\n\r\n" + NEXT), 400),
    "chunk size overflows": (post(CHUNKED, b"f" * 17 + b"\r\n12\r\n0\r\n\r\n" + NEXT), 400),
    "signed chunk size": (post(CHUNKED, b"+2\r\n12\r\n0\r\n\r\n" + NEXT), 400),
    "chunk longer than its size": (post(CHUNKED, b"1\r\n12\r\n0\r\n\r\n" + NEXT), 400),
    "bare line feeds between chunks": (post(CHUNKED, b"2\n12\n0\n\n" + NEXT), 400),
    "trailer fields": (post(CHUNKED, b"2\r\n12\r\n0\r\nContent-Length: 9\r\n\r\n" + NEXT), 400),
    "body of a GET": (get(fields=JSON + b"Content-Length: 40\r\n") + NEXT, 413),
    "too long": (post(b"Content-Length: 1048577\r\n", NEXT), 413),
    "too long, with expectation": (
        post(b"Content-Length: 1048577\r\nExpect: 100-continue\r\n", NEXT),
        413,
    ),
    "too long in chunks": (post(CHUNKED, b"110000\r\n" + b"1" * 1_200_000 + NEXT), 413),
}
"""Requests by whose ends two programs could disagree, and the status of their one answer."""

REFUSED = {
    "folded field": (get(fields=HOST + b"X: a\r\n b\r\n"), 400),
    "bare carriage return": (get(fields=HOST + b"X: a\rb\r\n"), 400),
    "NUL in a value": (get(fields=HOST + b"X: a\0b\r\n"), 400),
    "escape in a value": (get(fields=HOST + b"X: a\x1b[0m\r\n"), 400),
    "UTF-8 in a value": (get(fields=HOST + b"X: \xc3\xa9\r\n"), 400),
    "space in a name": (get(fields=HOST + b"X Y: a\r\n"), 400),
    "empty name": (get(fields=HOST + b": a\r\n"), 400),
    "no host": (get(fields=b"Authorization: Bearer shop\r\n"), 400),
    "two hosts": (get(fields=HOST + b"Host: y\r\n"), 400),
    "two credentials": (get(fields=HOST + b"Authorization: Bearer a\r\n"), 400),
    "no credentials": (get(fields=b"Host: x\r\n"), 401),
    "101 fields": (get(fields=HOST + b"".join(b"X-%d: a\r\n" % n for n in range(101))), 431),
    "long field": (get(fields=HOST + b"X: " + b"a" * 20_000 + b"\r\n"), 431),
    "long path": (get(b"/wait/" + b"a" * 4_000), 400),
    "longer path": (get(b"/wait/" + b"a" * 20_000), 431),
    "dot segments": (get(b"/wait/../echo"), 400),
    "encoded dot segments": (get(b"/wait/%2e%2e/echo"), 400),
    "dots encoded twice": (get(b"/wait/%252e%252e"), 400),
    "encoded backslash": (get(b"/wait/..%5cecho"), 400),
    "encoded NUL": (get(b"/wait/0%00"), 400),
    "encoded line break": (get(b"/wait/0%0d%0aX:%20y"), 400),
    "invalid escape": (get(b"/wait/%zz"), 400),
    "half an escape": (get(b"/wait/0%"), 400),
    "invalid UTF-8": (get(b"/wait/%ff"), 400),
    "overlong UTF-8": (get(b"/wait/%c0%ae%c0%ae"), 400),
    "surrogate": (get(b"/wait/%ed%a0%80"), 400),
    "right-to-left override": (get(b"/wait/%e2%80%ae0"), 400),
    "raw byte in the path": (get(b"/wait/\xff"), 400),
    "double slash": (get(b"//wait/0"), 400),
    "encoded slash": (get(b"/wait/0%2f0"), 404),
    "full-width slash": (get(b"/wait%ef%bc%8f0"), 404),
    "other case": (get(b"/WAIT/0"), 404),
    "space in the path": (get(b"/wait/0 0"), 400),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "TRACE": (b"TRACE /wait/0 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "preflight": (b"OPTIONS /echo HTTP/1.1\r\nOrigin: https://evil\r\n" + HOST + b"\r\n", 405),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "lower-case method": (b"get /wait/0 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "NUL in the method": (b"G\0T /wait/0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "method of 9,000 letters": (b"G" * 9_000 + b" /wait/0 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "HTTP/0.9": (b"GET /wait/0\r\n\r\n", 400),
    "HTTP/1.2": (b"GET /wait/0 HTTP/1.2\r\n" + HOST + b"\r\n", 400),
    "HTTP/2.0 by name": (b"GET /wait/0 HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 60, 400),
    "compressed body": (post(b"Content-Encoding: gzip\r\nContent-Length: 2\r\n", b"{}"), 415),
    "no type": (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}", 415),
    "body cut off": (post(CHUNKED, b"5\r\n12"), 408),
    "length never reached": (post(b"Content-Length: 5\r\n", b"12"), 408),
}
