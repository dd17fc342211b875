"""The numbers that a walk's program is written in, and those that it answers with."""

from typing import Final

# Operations of a program: what stands next on the wire. The first ones begin with a varint.
LONG: Final = 0
INT: Final = 1
OPTIONAL: Final = 2  # position of null; step behind the other branch
STRING: Final = 3
BYTES: Final = 4
ENUM: Final = 5  # so many symbols; the first one's number among all symbols of the program
UNION: Final = 6  # so many branches, one jump for each follows
END: Final = 7
BOOLEAN: Final = 8
FLOAT: Final = 9
DOUBLE: Final = 10
SKIP: Final = 11  # so many bytes
JUMP: Final = 12  # to a step
ITEMS: Final = 13  # an array or map; step behind it
NEXT: Final = 14  # end of an item; step of its ITEMS
CALL: Final = 15  # a record type that was used before; its first step; levels that this adds
RETURN: Final = 16
FIXED: Final = 17  # so many bytes, which a column holds
PRESENT: Final = 18  # no bytes: the column's value follows
ABSENT: Final = 19  # no bytes: the column's value is null, because what it is inside of is

# How a column holds what an operation reads; an operation and its OPTIONAL name the same.
DROPPED: Final = 0
INT64: Final = 1
INT32: Final = 2
FLOAT64: Final = 3
FLOAT32: Final = 4
BIT: Final = 5
TEXT: Final = 6  # int32 ends and bytes

# Where a column's parts lie in the arena (-1: it has none).
VALIDITY: Final = 0
VALUES: Final = 1  # a text's ends
DATA: Final = 2

# What a record fails with; 0 is good.
TRUNCATED: Final = 1
VARINT: Final = 2
LENGTH: Final = 3
BRANCH: Final = 4
SYMBOL: Final = 5
UTF8: Final = 6
BOOL: Final = 7
BLOCK: Final = 8
LEFT: Final = 9
STRING_LIMIT: Final = 10
COUNT_LIMIT: Final = 11
DEPTH: Final = 12
NULL: Final = 13  # sound, but the reader's column takes none
UNKNOWN_SYMBOL: Final = 14  # sound, but the reader knows no such symbol
STEPS: Final = 15  # more steps than its size allows
BROKEN: Final = 16  # the program itself is wrong: it never gets this far

STEPS_PER_BYTE: Final = 64
"""Steps that a record may take for each of its bytes, and :data:`STEPS_BASE` more."""
SURE_STEPS_PER_BYTE: Final = 4
"""The same where fastavro decodes the record: it takes some 200 times as long for a step."""
STEPS_BASE: Final = 4_096

# What a payload fails with before its schema is known.
EMPTY: Final = 1
OVERSIZE: Final = 2
FRAMING: Final = 3
