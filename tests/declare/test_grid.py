from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.declare.grid import ALMANAC, Cell, read_grid
from pytest_llmperf.declare.lengths import Uniform
from pytest_llmperf.declare.subject import typed
from pytest_llmperf.errors import DeclarationError

FULL = """
model = "meta-llama/Llama-3.1-8B"
slo = "ttft_ms=300 tpot_ms=40"
duration = 30
workloads = "almanac"
[[engine]]
subject = "vllm"
versions = ["0.24.0", "0.25.0"]
flags = ["", "--max-num-batched-tokens 512"]
[[engine]]
subject = "sglang==0.5.16"
model = "another/model"
[options]
place = "modal gpu=H100!"
launches = "3"
gpus = "0"
"""
SMALL = 'workloads = ["64/16"]\nmeasure = ["sweep"]\n[[engine]]\nsubject = "llamacpp"\n'


def cells(tmp_path: Path, text: str) -> tuple[Cell, ...]:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    return read_grid(path).cells


def mistake(tmp_path: Path, text: str) -> str:
    with pytest.raises(DeclarationError) as error:
        cells(tmp_path, text)
    message = str(error.value)
    assert message.startswith(str(tmp_path / "grid.toml"))
    return message.removeprefix(str(tmp_path / "grid.toml")).lstrip(": ")


def test_every_version_with_every_flag_under_every_workload(tmp_path: Path) -> None:
    found = cells(tmp_path, FULL)
    assert list(dict.fromkeys(str(cell.subject) for cell in found)) == [
        "vllm==0.24.0",
        "vllm==0.24.0 --max-num-batched-tokens 512",
        "vllm==0.25.0",
        "vllm==0.25.0 --max-num-batched-tokens 512",
        "sglang==0.5.16",
    ]
    assert len(found) == 5 * 9
    assert [f"{w.input_tokens}/{w.output_tokens}" for w in (cell.workload for cell in found[:9])] == [
        *ALMANAC
    ]
    assert found[0].measure == ("sweep", "capacity")
    assert found[0].options == {
        "model": "meta-llama/Llama-3.1-8B",
        "slo": "ttft_ms=300 tpot_ms=40",
        "duration": "30",
        "rates": "adaptive",
        "place": "modal gpu=H100!",
        "launches": "3",
        "gpus": "0",
    }
    assert found[-1].options["model"] == "another/model"


def test_names_are_readable_and_unlike_for_all_cells(tmp_path: Path) -> None:
    found = cells(tmp_path, FULL)
    assert found[9].id.startswith("vllm-0.24.0-max-num-batched-tokens-512-128-in-1024-out-")
    assert len({cell.id for cell in found}) == len(found)


@pytest.mark.parametrize(
    "changed",
    [
        SMALL.replace("64/16", "64/17"),
        SMALL.replace('"llamacpp"', '"llamacpp --parallel 2"'),
        "duration = 5\n" + SMALL,
        "rates = [1, 2]\n" + SMALL,
        'slo = "ttft_ms=300"\n' + SMALL,
        'slo = "ttft_ms=300.4"\n' + SMALL,
        SMALL.replace('["sweep"]', '["sweep", "batch"]'),
        SMALL + "[options]\nlaunches = 3\n",
    ],
)
def test_a_cell_that_is_declared_otherwise_is_another_cell(tmp_path: Path, changed: str) -> None:
    (before,), (after,) = cells(tmp_path, SMALL), cells(tmp_path, changed)
    assert before.id != after.id
    assert before.declared != after.declared


def test_where_and_how_it_is_measured_makes_no_other_cell(tmp_path: Path) -> None:
    (before,) = cells(tmp_path, SMALL)
    (after,) = cells(tmp_path, SMALL + "[options]\ngpus = [1]\nlease_timeout = 60\n")
    assert (before.id, before.declared) == (after.id, after.declared)
    assert after.options["gpus"] == "1"
    assert after.options["lease-timeout"] == "60"


def test_a_secret_is_neither_in_a_name_nor_in_what_is_recorded(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, SMALL.replace('"llamacpp"', '"HF_TOKEN=hf_1 llamacpp --api-key sk-1"'))
    assert typed(cell.subject) == "HF_TOKEN=hf_1 llamacpp --api-key sk-1"
    assert "hf_1" not in f"{cell.id} {cell.declared}"
    assert "sk-1" not in f"{cell.id} {cell.declared}"


def test_a_workload_may_be_all_that_a_test_can_ask_for(tmp_path: Path) -> None:
    table = '{input_tokens = "100-500", output_tokens = 64, chat = true, turns = 2}'
    (cell,) = cells(tmp_path, SMALL.replace('"64/16"', table))
    workload = cell.workload
    assert (workload.input_tokens, workload.chat, workload.turns) == (Uniform(100, 500), True, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "is not TOML: Invalid value (at end of document)"),
        ("", 'names no engine: add [[engine]] with subject = "vllm"'),
        (
            "flags = 1\n" + SMALL,
            "flags: not a key; valid: model, slo, duration, rates, concurrency, batch_requests, measure, "
            "workloads, engine, options",
        ),
        (SMALL + "version = 1\n", "[[engine]] 1: version: not a key; valid: subject, versions, flags, model"),
        (
            SMALL.replace('subject = "llamacpp"', ""),
            '[[engine]] 1: needs subject = "vllm", or another engine',
        ),
        (SMALL.replace('"llamacpp"', '"=="'), None),
        (SMALL + "flags = [1]\n", "[[engine]] 1: flags = [1]: a list of texts in quotes"),
        (
            SMALL.replace('"llamacpp"', '"llamacpp==1"') + 'versions = ["2"]\n',
            "[[engine]] 1: versions: llamacpp==1 says which one already",
        ),
        (
            SMALL.replace('"llamacpp"', '"http://h:1"') + 'flags = ["--x"]\n',
            "[[engine]] 1: flags: a server that runs already takes none from here",
        ),
        (SMALL + 'flags = "\'"\n', "[[engine]] 1: versions or flags: engine: no closing quotation"),
        (
            SMALL.replace('"64/16"', '"64-16"'),
            "workloads, number 1: '64-16': input/output tokens, as in \"1024/128\"",
        ),
        (SMALL.replace('"64/16"', "{chats = 1}"), None),
        (SMALL.replace('"64/16"', "{input_tokens = 5}"), None),
        (SMALL.replace('["sweep"]', '["swep"]'), "measure = ['swep']: a list of sweep, capacity, batch"),
        (
            SMALL.replace('["sweep"]', '["capacity"]'),
            'measure: a capacity needs an SLO, as in slo = "ttft_ms=300 tpot_ms=40"',
        ),
        ('slo = "ttft=1"\n' + SMALL, None),
        ("rates = [1]\nconcurrency = [1]\n" + SMALL, "rates: either this or concurrency, not both"),
        ("rates = [0]\n" + SMALL, "rates: '0': a number greater than 0"),
        ("batch_requests = 0\n" + SMALL, "batch_requests = 0: a whole number, at least 1"),
        (SMALL + "[options]\nslo = 1\n", "options: slo: a key of its own, above the tables"),
        (SMALL + "[options]\nlaunches = 0\n", "launches: '0': a number greater than 0"),
        (SMALL + 'flags = ["", ""]\n', "[[engine]] 1: llamacpp with 64 in / 16 out is there twice"),
    ],
)
def test_a_mistake_names_the_file_the_key_and_what_is_valid(
    tmp_path: Path, text: str, message: str | None
) -> None:
    told = mistake(tmp_path, text)
    assert told == message or (message is None and ": " in told)


@pytest.mark.parametrize("name", ["engine", "json", "against", "requests", "nonsense"])
def test_options_that_the_command_says_itself_are_refused(tmp_path: Path, name: str) -> None:
    told = mistake(tmp_path, SMALL + f'[options]\n{name} = "x"\n')
    assert told.startswith(f"options: {name}: not one for a matrix; valid: place, arrivals, ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"none\.toml cannot be read: No such file or directory"):
        read_grid(tmp_path / "none.toml")
