"""What each format takes for markup is taken from it, and a plain text stays as it was."""

from porting.escaping import markdown_text, one_line, workflow_data, workflow_property


def test_plain_text_stays() -> None:
    text = "denoiser: 1.95 times PyTorch's own error (limit 2), über 3 µs ✓ 日本"
    assert one_line(text) == text
    assert workflow_data(text) == text


def test_lines_become_one() -> None:
    assert one_line("  a\n\tb\r\nc\u2028d ") == "a b c d"


def test_characters_that_are_obeyed_are_replaced() -> None:
    assert one_line("\x1b[31m\x00\x9b\u202e\ud800\ue000") == "\ufffd[31m\ufffd\ufffd\ufffd\ufffd\ufffd"


def test_markdown() -> None:
    assert markdown_text("a|b\n# <b>") == "a\\|b \\# &lt;b&gt;"
    assert markdown_text("key_0 _x_ *y* `z` [l](m)") == "key_0 \\_x\\_ \\*y\\* \\`z\\` \\[l\\](m)"
    assert "://" not in markdown_text("https://example.org")
    assert "@team" not in markdown_text("ask @team")
    assert markdown_text("a @ b") == "a @ b"


def test_workflow_commands() -> None:
    assert workflow_data("50%: a,\nb\r\nc") == "50%25: a,%0Ab%0Ac"
    assert workflow_property("50%: a,\nb") == "50%25%3A a%2C b"
    assert "\n" not in workflow_data("::error::x\n::y")
