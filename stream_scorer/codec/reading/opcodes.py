"""The codes of a walk's program, and the codes of its results."""

from typing import Final

# Operations of a program: what is next on the wire, and their operands. The first ones begin with a
# varint.
LONG: Final = 0
INT: Final = 1
OPTIONAL: Final = 2  # position of null; the step after the other branch
STRING: Final = 3
BYTES: Final = 4
ENUM: Final = 5  # number of symbols; number of the first one among all symbols of the program
UNION: Final = 6  # number of branches; a jump for each of them follows
END: Final = 7
BOOLEAN: Final = 8
FLOAT: Final = 9
DOUBLE: Final = 10
SKIP: Final = 11  # number of bytes
JUMP: Final = 12  # target step
ITEMS: Final = 13  # an array or map: the step after it
NEXT: Final = 14  # end of an item: the step of its ITEMS
CALL: Final = 15  # a record type that was used before: its first step; levels that it adds
RETURN: Final = 16
FIXED: Final = 17  # number of bytes, which a column stores
PRESENT: Final = 18  # no bytes: the column's value follows
ABSENT: Final = 19  # no bytes: the column's value is null, because a record that contains it is

# How a column stores what an operation reads; an operation and its OPTIONAL have the same kind.
DROPPED: Final = 0
INT64: Final = 1
INT32: Final = 2
FLOAT64: Final = 3
FLOAT32: Final = 4
BIT: Final = 5
TEXT: Final = 6  # int32 offsets, and bytes

# The parts of a column in ``regions`` (-1: it does not have this part).
VALIDITY: Final = 0
VALUES: Final = 1  # for a text its offsets
DATA: Final = 2

# The faults of a record; 0 is good.
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
NULL: Final = 13  # valid, but the reader's column takes no null
UNKNOWN_SYMBOL: Final = 14  # valid, but the reader does not know the symbol
STEPS: Final = 15  # more steps than its size allows
BROKEN: Final = 16  # the program itself is wrong, which ``program_check`` prevents

STEPS_PER_BYTE: Final = 64
"""Maximum steps for each byte of a payload, in addition to :data:`STEPS_BASE`."""
SURE_STEPS_PER_BYTE: Final = 4
"""The same if fastavro decodes the record, which takes about 200 times as long for a step."""
STEPS_BASE: Final = 4_096

# The faults of a payload before its schema is known.
EMPTY: Final = 1
OVERSIZE: Final = 2
FRAMING: Final = 3
