"""Makes text from a record harmless in whatever it is written into: Markdown, XML, a workflow's log.

Names of models, components, files and packages were chosen by others. It knows what each format takes for markup, and
nothing of what is said.
"""

import html
import re
import unicodedata

_SPECIAL = re.compile(r"[\\`*\[\]|#~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_MENTION = re.compile(r"@(?=[A-Za-z0-9])")
_UNWRITABLE = {"Cc", "Cs", "Cn", "Co"}
"""Control characters, halves of surrogate pairs, and what is no character or nobody's."""
_REORDERING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}
"""They make a reader see other words than are there."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
WORD_JOINER = "\N{WORD JOINER}"


def one_line(text: str) -> str:
    """The text on one line, every character that a terminal or a file could obey replaced by U+FFFD."""
    spaced = " ".join(text.split())
    return "".join(REPLACEMENT if _obeyed(character) else character for character in spaced)


def _obeyed(character: str) -> bool:
    return unicodedata.category(character) in _UNWRITABLE or ord(character) in _REORDERING


def markdown_text(text: str) -> str:
    """Text that GitHub-flavoured Markdown and HTML show as it is, on one line: no markup, link, mention or cell."""
    escaped = html.escape(one_line(text), quote=False).replace("://", "&#58;//")
    return _MENTION.sub(f"@{WORD_JOINER}", _SPECIAL.sub(r"\\\g<0>", escaped))


def workflow_data(text: str) -> str:
    """The message of a GitHub workflow command; lines stay lines."""
    cleaned = "\n".join(one_line(line) for line in text.splitlines())
    return cleaned.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def workflow_property(text: str) -> str:
    """The value of a GitHub workflow command's property, on one line."""
    return workflow_data(one_line(text)).replace(":", "%3A").replace(",", "%2C")
