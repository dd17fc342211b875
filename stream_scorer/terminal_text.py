"""Text from topics, files and servers, made safe for a terminal.

A terminal executes what it receives: escape sequences move the cursor, set the clipboard (OSC 52)
or rename the window. Text that comes from outside is printed with such characters escaped.
"""

import sys


def printable(text: str) -> str:
    r"""Return a text with every character escaped that is not printable.

    Escaped are control characters (C0, DEL, C1), line breaks, format characters such as
    bidirectional overrides, lone surrogates and unassigned code points; see ``str.isprintable``.

    >>> printable("paid \x1b]52;c;aGk=\x07 [/red]")
    'paid \\x1b]52;c;aGk=\\x07 [/red]'
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def write_error(text: str) -> None:
    """Write one line to stderr under the program's name, whatever the text contains."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    line = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    sys.stderr.write(f"stream-scorer: {line}\n")
