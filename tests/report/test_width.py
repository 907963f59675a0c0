from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.report.plain import plainly, show_plainly
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.width import cells, fitted, padded, squeezed, width_of, wrapped

ODD = st.sampled_from("日本語é\u0301\u200b😀 ab→✓")
TEXTS = st.text(alphabet=st.one_of(st.characters(), ODD)).map(printable)
WIDTHS = st.integers(0, 60)


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("日本", 4), ("e\u0301", 1), ("😀!", 3), ("✓✗▲·…", 5), ("a\u200bb", 2), ("한", 2)],
)
def test_a_terminal_counts_cells(text: str, width: int) -> None:
    assert cells(text) == width


@given(text=TEXTS, width=WIDTHS)
def test_what_is_cut_fits_and_keeps_its_begin(text: str, width: int) -> None:
    shown = fitted(text, width)
    assert cells(shown) <= width
    assert shown == text if cells(text) <= width else text.startswith(shown.removesuffix("…"))


@given(text=TEXTS, width=WIDTHS)
def test_what_is_squeezed_fits_and_keeps_both_ends(text: str, width: int) -> None:
    shown = squeezed(text, width)
    assert cells(shown) <= width
    if cells(text) <= width:
        assert shown == text
    elif shown:
        begin, _, end = shown.rpartition("…")
        assert text.startswith(begin)
        assert text.endswith(end)
        # Less than two cells of what there is are left empty at either end.
        assert cells(shown) >= width - 3


@given(text=TEXTS, width=st.integers(20, 60))
def test_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(cells(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert wrapped(text, None) == [text]


@given(words=st.lists(st.integers(0, 10**9).map(str), min_size=1, max_size=30), width=st.integers(20, 60))
def test_no_number_is_broken(words: list[str], width: int) -> None:
    assert " ".join(wrapped("  " + " ".join(words), width)).split() == words


@given(text=TEXTS, width=WIDTHS)
def test_columns_are_padded_by_cells(text: str, width: int) -> None:
    for right in (False, True):
        assert cells(padded(text, width, right=right)) == max(width, cells(text))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "koi8-r", "utf-8", "shift_jis"])
@given(text=TEXTS)
def test_every_stream_shows_every_text(encoding: str, text: str) -> None:
    shown = plainly(text, encoding)
    shown.encode(encoding)
    assert plainly(shown, encoding) == shown
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show_plainly(stream)
    stream.write(text)
    stream.flush()
    stream.seek(0)
    assert stream.read() == shown


def test_marks_have_plain_stand_ins_of_their_width() -> None:
    assert plainly("150.0✓ 174.7✗ -61%▲ +1%? – 13 → 57 ms · ≥ 4…", "ascii") == (
        "150.0= 174.7! -61%^ +1%? - 13 -> 57 ms - >= 4~"
    )
    assert plainly("café 日", "ascii") == r"caf\xe9 \u65e5"
    assert plainly("– · × … ✓", "cp1252") == "– · × … ="


def test_no_terminal_has_no_width_but_what_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, width in (("", None), ("0", None), ("x", None), ("70", 70), ("3", 20)):
        monkeypatch.setenv("COLUMNS", said)
        assert width_of(io.StringIO()) == width
