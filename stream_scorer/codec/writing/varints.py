"""Avro's numbers of variable length."""


def put_long(out: bytearray, number: int) -> None:
    r"""Append a whole number of 64 bits as a zigzag varint.

    >>> out = bytearray()
    >>> put_long(out, -65)
    >>> bytes(out)
    b'\x81\x01'
    """
    left = (number << 1) ^ (number >> 63)
    while left > 0x7F:  # noqa: PLR2004 seven bits a byte
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
