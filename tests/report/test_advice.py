from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.declare.order import Outcome
from tests.recorded import entry, point, record, run, write


def curve(subject: str, carries: float, launches: int = 3, **changed: object) -> dict[str, object]:
    """A subject whose TTFT p95 is 300 ms at ``carries`` requests/s."""
    points = [
        point(
            rate,
            [
                run(
                    number,
                    {
                        "ttft_p95_ms": 300 * rate / carries,
                        "ttft_p50_ms": 150 * rate / carries,
                        "e2e_p50_ms": 900.0,
                        "requests_per_s": rate,
                        "output_tokens_per_s": 128 * rate,
                    },
                )
                for number in range(1, launches + 1)
            ],
        )
        for rate in (4.0, 8.0, 16.0)
    ]
    return entry(subject, points, **changed)


def advice(tmp_path: Path, *arguments: str, slo: str = "ttft_ms=300") -> int:
    return main(["advise", "--slo", slo, *arguments, str(tmp_path / "r.json")])


def test_the_answer_says_what_to_run_how_sure_that_is_and_what_it_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[[price]]\naccelerator = "H100"\nusd_per_hour = 2.0\nsource = "our contract"\ndate = 2026-10-01\n'
    )
    content = record(
        curve("vllm==0.24.0", 10.0),
        curve("vllm==0.25.0 --max-num-seqs 64", 13.0),
        curve("sglang==0.5.16", 13.2),
        curve("llamacpp", 1.0),
        curve("tensorrt-llm", 1.0, verdict="error", error="out of memory"),
    )
    write(tmp_path / "r.json", content)
    assert advice(tmp_path, "--load", "50", "--prices", str(prices)) == Outcome.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1024 in / 128 out, poisson arrivals · NVIDIA H100 80GB HBM3 · m sha256:1"
    assert lines[1:4] == [
        "  4 configurations, 12 launches",
        "  SLO: TTFT p95 ≤ 300 ms, and no errors",
        "  misses the SLO at every load that was measured: llamacpp (1.0): TTFT p95 is 1200 ms at 4/s, "
        "the limit 300 ms, which is 300% beyond",
    ]
    throughput = lines[4:11]
    assert throughput[0] == "  throughput: a tie of 2"
    assert throughput[1] == "    best   13.2/s  sglang==0.5.16"
    assert "; 3 launches; between 8/s and 16/s; TTFT p95 is what limits it" in throughput[2]
    assert throughput[3] == "    tie    13/s  vllm==0.25.0 --max-num-seqs 64"
    assert throughput[5] == "    worse  10/s  vllm==0.24.0"
    assert "; -24% from the best (" in throughput[6]
    text = "\n".join(lines)
    assert "  cost, per million output tokens: a tie of 2\n    best   $0.329  sglang==0.5.16" in text
    assert (
        "  sglang==0.5.16\n"
        "    measure it:  pytest --llmperf --llmperf-engine sglang==0.5.16 --llmperf-model org/m "
        "--llmperf-slo ttft_ms=300\n"
        "    to have it:  50/s need 5 replicas of 12.5/s: $10.00 per hour, $7,300 per month "
        "(our contract, 2026-10-01)"
    ) in text
    # Nothing else is shown to run: of equal latency, and cheapest, is the same one.
    assert text.count("measure it:") == 1
    assert lines[-1] == "left out: tensorrt-llm, 2026-11-22T02:00:00+00:00: error: out of memory"


def test_of_much_that_says_nothing_a_part_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = [entry(f"vllm=={n}", [], verdict="error", error="out of memory " * 40) for n in range(5)]
    write(tmp_path / "r.json", record(curve("vllm", 10.0), *lost))
    assert advice(tmp_path, "--json", str(tmp_path / "a.json")) == Outcome.DONE
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out:")]
    assert len(lines) == 4
    assert all(line.endswith("memory …") for line in lines[:3])
    assert lines[3] == "left out: 2 more (--json names them)"
    assert len(json.loads((tmp_path / "a.json").read_text())["left_out"]) == 5


def test_an_slo_that_nothing_meets_is_said_with_the_closest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "r.json", record(curve("vllm", 10.0), curve("sglang", 12.0)))
    assert advice(tmp_path, slo="ttft_ms=80") == Outcome.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:5] == [
        "  nothing meets the SLO; the closest is sglang (1.0): TTFT p95 is 100 ms at 4/s, the limit 80 ms, "
        "which is 25% beyond",
        "  misses the SLO at every load that was measured: vllm (1.0): TTFT p95 is 120 ms at 4/s, "
        "the limit 80 ms, which is 50% beyond",
    ]
    assert lines[5:] == [""]


def test_what_carries_all_that_was_tried_is_told_as_a_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "r.json", record(curve("vllm", 100.0, launches=1)))
    assert advice(tmp_path, "--for", "throughput") == Outcome.DONE
    out = capsys.readouterr().out
    assert "    best   at least 16/s  vllm (1.0)\n           1 launch; the SLO is met at every load" in out
    assert "TTFT p50" not in out


def test_what_was_saturated_is_told_with_a_limit_and_not_as_a_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beyond = {"rate": 17.0, "requests": 90, "values": {"ttft_p95_ms": 250.0}, "gave_up": True}
    swept = {"workload": "1024 in / 128 out", "side": "candidate", "saturated": [beyond]}
    write(
        tmp_path / "r.json",
        record(curve("vllm", 100.0, launches=1, sweeps=[swept]), curve("sglang", 100.0, launches=1)),
    )
    assert advice(tmp_path, "--for", "throughput", "--json", str(tmp_path / "a.json")) == Outcome.DONE
    lines = capsys.readouterr().out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.endswith("/s  vllm (1.0)")]
    assert "at least" not in lines[at]
    assert "; 1 launch; between 16/s and 17/s; beyond, its queue grows without bound" in lines[at + 1]
    (answer,) = json.loads((tmp_path / "a.json").read_text())["answers"]
    found = answer["capacities"]
    assert (found["vllm (1.0)"]["kind"], found["sglang (1.0)"]["kind"]) == ("found", "above")
    assert (found["vllm (1.0)"]["saturated_beyond"], found["vllm (1.0)"]["limited_by"]) == (True, None)


def test_goodput_that_is_missed_is_told_without_a_ratio(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what may be missing, which nobody would guess."""
    write(tmp_path / "r.json", record(entry("vllm", [point(2, [run(1, {"goodput": 0.98})])])))
    assert advice(tmp_path, slo="goodput=0.99") == Outcome.FAILED
    assert "vllm (1.0): goodput is 98% at 2/s, the limit 99%\n" in capsys.readouterr().out


def test_two_prices_that_may_be_meant_are_an_error_before_anything_is_advised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = "".join(
        f'[[price]]\naccelerator = "{name}"\nusd_per_hour = 2.0\nsource = "us"\ndate = 2026-10-01\n'
        for name in ("H100 HBM3", "NVIDIA H100")
    )
    (tmp_path / "p.toml").write_text(prices)
    write(tmp_path / "r.json", record(curve("vllm", 10.0)))
    assert advice(tmp_path, "--prices", str(tmp_path / "p.toml")) == Outcome.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert 'p.toml: "H100 HBM3" and "NVIDIA H100" are alike prices of NVIDIA H100 80GB HBM3; ' in said.err


def test_the_engines_own_command_is_shown_where_it_was_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launched = {"text": "vllm", "command": "vllm serve org/m"}
    write(tmp_path / "r.json", record(curve("vllm", 10.0), launches=[launched]))
    advice(tmp_path)
    assert "    run it:      vllm serve org/m\n" in capsys.readouterr().out


def test_programs_read_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "r.json", record(curve("vllm", 10.0), curve("sglang", 14.0)))
    advice(tmp_path, "--json", str(tmp_path / "deep" / "a.json"))
    told = json.loads((tmp_path / "deep" / "a.json").read_text())
    assert (told["llmperf_advice"], told["slo"]) == (1, "ttft_ms=300")
    (answer,) = told["answers"]
    assert answer["capacities"]["sglang (1.0)"]["per_s"] == pytest.approx(14)
    assert [one["is_tie"] for one in answer["rankings"]["throughput"]] == [True, False]
    assert answer["latencies_at"] == 4.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slo", "ttft=3"], "argument --slo: unknown metric 'ttft' (did you mean 'ttft_ms'?)"),
        (["--slo", " "], "argument --slo: ' ' has no limit, as ttft_ms=300 is one"),
        (
            ["--slo", "ttft_ms=3 capacity_per_s=5"],
            "argument --slo: capacity_per_s is no limit on a load: --min-rate asks for a capacity",
        ),
        (["--slo", "startup_s=5"], "argument --slo: startup_s is no limit on a load: leave it out"),
        (["--slo", "ttft_ms=3", "--load", "0"], "argument --load: '0': a number greater than 0"),
        (["--slo", "ttft_ms=3", "--for", "fun"], "argument --for: invalid choice: 'fun'"),
        (
            ["--slo", "ttft_ms=3", "--nonsense"],
            "unrecognized arguments: --nonsense (see llmperf advise --help)",
        ),
        ([], "the following arguments are required: --slo (see llmperf advise --help)"),
    ],
)
def test_a_mistake_is_told_on_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["advise", *arguments])
    assert left.value.code == Outcome.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"llmperf: {message}")


def test_files_that_are_none_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert advice(tmp_path) == Outcome.USAGE
    assert "r.json cannot be read: No such file or directory" in capsys.readouterr().err
    write(tmp_path / "r.json", record())
    assert advice(tmp_path) == Outcome.FAILED
    assert "no measurement of any load in " in capsys.readouterr().err
    assert advice(tmp_path, "--prices", str(tmp_path / "p.toml")) == Outcome.USAGE
    assert "p.toml cannot be read" in capsys.readouterr().err
