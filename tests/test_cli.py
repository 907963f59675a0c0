from __future__ import annotations

import itertools
import json
import signal
import time
from pathlib import Path

import pytest

from pytest_llmperf import cli
from pytest_llmperf.declare.lengths import Uniform
from pytest_llmperf.declare.load import LoadPoint, Ramp
from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.declare.order import Exit, Order
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.places.local import LocalProcess
from tests.commanding import end, load, start, timelines
from tests.servers import DONE, TruthServer, Wire, dead_url, json_answer, scripted_server

URL = "http://127.0.0.1:8000"
LENGTHS = (
    "valid: a number of tokens, 100-500, normal:MEAN,STD or lognormal:MEDIAN,P95, the last two with "
    "bounds as in normal:512,100,64-1024"
)
FEW = ("--requests", "4", "--input-tokens", "20", "--output-tokens", "6", "--timeout", "2")
# How far the two processes' clocks, and the kernel's mapped on them, may seem apart.
ALLOWANCE_NS = 2_000_000


def order(*arguments: str) -> Order:
    parser = cli.parser()
    return cli._order(parser, parser.parse_args(["load", *arguments]))


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a wrong command line is answered with."""
    with pytest.raises(SystemExit) as left:
        cli.main(["load", *arguments])
    assert left.value.code == Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("llmperf: ")
    assert line.endswith(" (see llmperf load --help)")
    return line.removeprefix("llmperf: ").removesuffix(" (see llmperf load --help)")


# --- the command line ---------------------------------------------------------------------------------


def test_only_the_url_has_to_be_said() -> None:
    assert order(URL) == Order(
        server=parse_subject(URL),
        workload=Workload(input_tokens=256, output_tokens=128),
        point=LoadPoint(concurrency=1, duration_s=30.0),
        seed="llmperf",
        model=None,
        timeout_s=120.0,
        warms_up=True,
        workers=None,
        timelines=None,
        json=None,
    )


@pytest.mark.parametrize(
    ("arguments", "point"),
    [
        (("--rate", "2.5"), LoadPoint(rate=2.5, arrivals="constant", duration_s=30.0)),
        (("--rate", "2", "--requests", "9"), LoadPoint(rate=2.0, arrivals="constant", requests=9)),
        (
            ("--rate=2", "--arrivals=poisson", "--duration=1.5", "--requests=9"),
            LoadPoint(rate=2.0, arrivals="poisson", duration_s=1.5, requests=9),
        ),
        (
            ("--rate=1..10", "--arrivals=gamma:0.5", "--requests=9"),
            LoadPoint(rate=Ramp(1.0, 10.0), arrivals="gamma:0.5", requests=9),
        ),
        (("--concurrency", "8", "--duration", "5"), LoadPoint(concurrency=8, duration_s=5.0)),
        (("--requests", "7"), LoadPoint(concurrency=1, requests=7)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_load_point_is_what_was_said(arguments: tuple[str, ...], point: LoadPoint) -> None:
    assert order(URL, *arguments).point == point


def test_lengths_may_be_distributions() -> None:
    workload = order(URL, "--input-tokens", "100-500").workload
    assert workload == Workload(input_tokens=Uniform(100, 500), output_tokens=128)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: URL"),
        (("127.0.0.1:8000",), "argument URL: '127.0.0.1:8000': expected http://HOST:PORT or https://HOST"),
        (("ftp://h",), "argument URL: 'ftp://h': expected http://HOST:PORT or https://HOST"),
        (("http://",), "argument URL: 'http://': expected http://HOST:PORT or https://HOST"),
        (
            ("http://me:secret@h",),
            "argument URL: 'http://…@h': no credentials in a URL; put the key into LLMPERF_API_KEY",
        ),
        ((URL, "--rate", "0"), "argument --rate: '0': a number greater than 0"),
        ((URL, "--rate=-1"), "argument --rate: '-1': a number greater than 0"),
        ((URL, "--rate", "fast"), "argument --rate: 'fast' is not a number"),
        ((URL, "--rate", "nan"), "argument --rate: 'nan': a number greater than 0"),
        (
            (URL, "--rate", "1e9"),
            "argument --rate: rates=1000000000.0: more than 100000 requests/s cannot be driven",
        ),
        (
            (URL, "--rate", "1", "--concurrency", "2"),
            "argument --concurrency: not allowed with argument --rate",
        ),
        ((URL, "--concurrency", "1.5"), "argument --concurrency: '1.5': a whole number"),
        ((URL, "--duration", "0"), "argument --duration: '0': a number greater than 0"),
        ((URL, "--duration", "inf"), "argument --duration: 'inf': a number greater than 0"),
        ((URL, "--requests", "0"), "argument --requests: '0': a number greater than 0"),
        (
            (URL, "--input-tokens", "0"),
            f"argument --input-tokens: '0': a whole number of tokens, at least 1; {LENGTHS}",
        ),
        ((URL, "--output-tokens", "1e99"), f"argument --output-tokens: '1e99': {LENGTHS}"),
        (
            (URL, "--rate", "1", "--arrivals", "gamma"),
            "argument --arrivals: arrivals='gamma': the shape is a number from 0.01 to 1000, as in gamma:0.5",
        ),
        ((URL, "--rate", "1..x"), "argument --rate: rates='1..x': a ramp is written as '1..10'"),
        ((URL, "--timeout", "soon"), "argument --timeout: 'soon' is not a number"),
        ((URL, "--workers", "many"), "argument --workers: 'many': auto, or a number of processes"),
        (
            (URL, "--arrivals", "poisson"),
            "--arrivals belongs to --rate: in a closed loop a request follows the one before it",
        ),
        ((URL, "--timelines", "x", "--json", "x"), "--timelines and --json are the same file, x"),
        ((URL, "--rat", "1"), "unrecognized arguments: --rat 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_told_on_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mistake(capsys, *arguments) == message


def test_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["load", "--help"])
    assert left.value.code == 0
    _, _, epilog = capsys.readouterr().out.partition("exit codes:")
    for code in Exit:
        assert f"  {code.value}  " in epilog


# --- against a server that knows the truth ------------------------------------------------------------


@pytest.mark.parametrize("chat", [False, True], ids=["completions", "chat"])
def test_the_timelines_are_what_the_server_did(chat: bool, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "timelines.jsonl"
    asked = (
        "--rate",
        "25",
        "--duration",
        "0.8",
        "--input-tokens",
        "24",
        "--output-tokens",
        "8",
        "--no-warmup",
    )
    with TruthServer(ttft_s=0.02, itl_s=0.005) as server:
        ended = load(server.url, *asked, "--timelines", path, *(["--chat"] if chat else []))
        log = server.log()
    lines = timelines(path)
    assert ended.code in (Exit.MEASURED, Exit.INVALID)  # a machine may be too busy to be on time
    assert len(lines) == 20
    first, *_ = sorted(log.values(), key=lambda served: served.received_ns)
    assert {line["id"] for line in lines} == set(log) - {first.request_id}
    start_ns = lines[0]["scheduled_ns"]
    for number, line in enumerate(lines):
        served = log[line["id"]]
        assert served.path == ("/v1/chat/completions" if chat else "/v1/completions")
        assert (line["status"], line["error"]) == (200, None)
        assert line["usage"] == {"prompt_tokens": 24, "completion_tokens": 8, "cached_tokens": None}
        assert abs(line["scheduled_ns"] - start_ns - number * 40_000_000) <= 1
        assert line["scheduled_ns"] <= line["sent_ns"] <= served.received_ns + ALLOWANCE_NS
        assert line["first_token_ns"] == line["token_ns"][0]
        assert len(line["token_ns"]) == len(served.token_ns) == 8
        assert line["token_ns"] == sorted(line["token_ns"])
        assert line["token_ns"][-1] <= line["ended_ns"]
        for received, written in zip(line["token_ns"], served.token_ns, strict=True):
            assert received >= written - ALLOWANCE_NS
        assert 0 <= line["merged_tokens"] < 8


def test_what_a_person_sees_and_what_a_program_reads(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with TruthServer(ttft_s=0.005, itl_s=0.001) as server:
        ended = load(server.url, "--concurrency", "2", *FEW, "--json", path)
    lines = ended.out.splitlines()
    assert lines[0] == f"{server.url} · truth · 20 in / 6 out · closed loop, 2 at once of 4 requests"
    assert lines[1].split()[:2] == ["load", "TTFT"]
    assert lines[2].startswith("  2 at once ")
    assert lines[2].endswith("  0")
    assert lines[3] == "latencies in ms; ~ fewer requests than the percentile needs"
    assert lines[4].startswith("load generator: requests left ")
    assert [line.split(",")[0] for line in ended.err.splitlines()] == [
        f"llmperf: asking {server.url}",
        "llmperf: warming up at 2 at once",
        "llmperf: measuring at 2 at once",
    ]
    told = json.loads(path.read_text())
    assert told["llmperf_load"] == 1
    assert told["outcome"] in ("measured", "invalid")
    assert told["model"] == "truth"
    assert told["declared"]["workload"] == {"input_tokens": 20, "output_tokens": 6, "chat": False}
    assert told["declared"]["load"] == {"concurrency": 2, "requests": 4}
    assert (told["requests"], told["errors"], told["notes"]) == (4, {}, [])
    assert told["health"]["wrong_prompt_lengths"] == 0
    assert told["warm_up"]["medians_ms"]
    names = [parse_metric(name) for name in told["values"]]
    assert {MetricKey("ttft", "p99"), MetricKey("tpot", "p50"), MetricKey("requests")} <= set(names)


def test_poisson_arrivals_belong_to_their_seed(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    asked = ("--rate", "40", "--arrivals", "poisson", "--no-warmup", *FEW)
    arrivals = []
    with TruthServer() as server:
        for seed in ("a", "a", "b"):
            load(server.url, *asked, "--seed", seed, "--timelines", path)
            due = [line["scheduled_ns"] for line in timelines(path)]
            arrivals.append([later - earlier for earlier, later in itertools.pairwise(due)])
    first, again, other = arrivals
    assert all(abs(one - two) <= 1 for one, two in zip(first, again, strict=True))
    assert first != other


def test_the_key_is_sent_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with TruthServer() as server:
        ended = load(server.url, *FEW, "--json", path, LLMPERF_API_KEY="sk-hidden")
        keys = {served.headers.get("authorization") for served in server.log().values()}
    assert keys == {"Bearer sk-hidden"}
    assert "sk-hidden" not in ended.out + ended.err + path.read_text()


def test_a_key_that_no_header_can_carry_is_a_usage_error() -> None:
    ended = load(URL, LLMPERF_API_KEY="sk hidden")
    assert ended.code == Exit.USAGE
    assert ended.err == "llmperf: LLMPERF_API_KEY has blanks or odd characters in it; it is not shown here\n"


def test_a_terminal_that_cannot_show_a_dot_in_the_middle_is_no_reason_to_fail() -> None:
    with TruthServer() as server:
        ended = load(server.url, *FEW, PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert ended.code in (Exit.MEASURED, Exit.INVALID)
    assert ended.out.startswith(f"{server.url} - truth - ")


def test_several_processes_drive_one_load(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    asked = (
        "--rate",
        "25",
        "--duration",
        "0.8",
        "--input-tokens",
        "24",
        "--output-tokens",
        "8",
        "--no-warmup",
    )
    with TruthServer() as server:
        ended = load(server.url, *asked, "--workers", "2", "--timelines", path)
        log = server.log()
    lines = timelines(path)
    assert len({line["id"] for line in lines}) == len(lines) == 20
    assert {line["id"] for line in lines} < set(log)
    start_ns = lines[0]["scheduled_ns"]
    for number, line in enumerate(lines):
        assert abs(line["scheduled_ns"] - start_ns - number * 40_000_000) <= 1
        assert len(line["token_ns"]) == 8
    assert " of a core in the busiest of 2 processes" in ended.out


# --- servers that have next to nothing ----------------------------------------------------------------


def bare(wire: Wire) -> None:
    """Streamed answers, whatever is asked, and nothing else."""
    if wire.request.method == "POST":
        wire.stream(*wire.tokens(), wire.usage_event(), DONE)
    else:
        wire.send(json_answer("404 Not Found", {}))


def test_a_server_that_only_streams_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with scripted_server(bare, everything=True) as url:
        ended = load(url, *FEW, "--timelines", path)
    assert ended.code in (Exit.MEASURED, Exit.INVALID)
    assert [line["error"] for line in timelines(path)] == [None] * 4
    assert ended.notes == [
        "requests name the model 'default' (--model): the server lists none (GET /v1/models: HTTP 404: '{}')"
    ]


@pytest.mark.parametrize("listed", [False, True], ids=["without a list of models", "with another one in it"])
def test_requests_name_the_model_that_was_asked_for(listed: bool) -> None:
    named = set()

    def listen(wire: Wire) -> None:
        if wire.request.method == "POST":
            named.add(wire.request.body["model"])
            bare(wire)
        elif listed and wire.request.path == "/v1/models":
            wire.send(json_answer("200 OK", {"data": [{"id": "big"}]}))
        else:
            bare(wire)

    with scripted_server(listen, everything=True) as url:
        ended = load(url, *FEW, "--model", "tiny")
    assert named == {"tiny"}
    (note,) = ended.notes
    assert "--model" in note


def test_a_chat_whose_prompts_cannot_be_counted_gets_words_and_a_note(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with scripted_server(bare, everything=True) as url:
        ended = load(url, *FEW, "--chat", "--json", path)
    assert ended.code in (Exit.MEASURED, Exit.INVALID)
    told = json.loads(path.read_text())
    assert told["health"]["wrong_prompt_lengths"] == 0
    assert told["notes"] == ended.notes
    assert ended.notes[1].startswith(
        "prompt lengths are not verified: a token is taken for a common word "
        "(POST /v1/chat/completions: HTTP 200, no usage.prompt_tokens: 'data: "
    )


@pytest.mark.parametrize("way", ["500", "reset", "close"])
def test_token_ids_that_a_server_stumbles_over_are_given_up(way: str, tmp_path: Path) -> None:
    def stumble(wire: Wire) -> None:
        if wire.request.method == "POST" and isinstance(wire.request.body["prompt"], list):
            if way == "500":
                wire.send(json_answer("500 Internal Server Error", {}))
            elif way == "reset":
                wire.reset()
        else:
            bare(wire)

    path = tmp_path / "t.jsonl"
    with scripted_server(stumble, everything=True) as url:
        ended = load(url, *FEW, "--timelines", path)
    assert ended.code in (Exit.MEASURED, Exit.INVALID)
    assert [line["error"] for line in timelines(path)] == [None] * 4
    assert "prompt lengths are not verified" in ended.notes[1]


def test_a_server_that_counts_prompts_in_its_own_way_is_measured_with_a_note() -> None:
    with TruthServer(miscounts_by=3) as server:
        ended = load(server.url, *FEW)
    assert ended.notes == ["prompt lengths are not verified: the server counts 16 tokens as 19"]
    assert "not as long as asked" not in ended.out


@pytest.mark.parametrize(
    ("script", "error", "advice"),
    [
        ("no_usage", "no usage: the server does not count its tokens", "let it send usage figures"),
        ("wrong_count", "token count: 5 output tokens instead of 6", "let the server obey max_tokens"),
    ],
)
def test_an_answer_of_another_length_counts_as_failed_and_has_its_times(
    script: str, error: str, advice: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.jsonl"
    with scripted_server(script) as url:
        ended = load(url, *FEW, "--timelines", path)
    assert ended.code == Exit.SERVER_FAILED
    lines = timelines(path)
    assert all(line["error"].startswith(error) for line in lines)
    assert all(len(line["token_ns"]) >= 5 for line in lines)
    assert f"failed: 4 × {error}" in ended.out
    assert advice in ended.out
    assert ended.notes[0].startswith(f"the first answer was not as asked ({error.partition(':')[0]}: ")


# --- when the server fails ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("server_error", "HTTP 500: "),
        ("hang_before_head", "timeout: not complete after 2 s"),
        ("reset", "reset: "),
        ("half_event", "truncated: "),
    ],
)
def test_not_one_answer_is_a_failure_of_the_server_with_its_timelines(
    script: str, error: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.jsonl"
    with scripted_server(script, well_before=1) as url:
        ended = load(url, *FEW, "--timelines", path, "--concurrency", "4", "--no-warmup")
    assert ended.code == Exit.SERVER_FAILED
    assert f"failed: 4 × {error}" in ended.out
    lines = timelines(path)
    assert len(lines) == 4
    assert all(line["error"].startswith(error) for line in lines)
    assert {line["status"] for line in lines} == {{"server_error": 500, "half_event": 200}.get(script)}


def test_some_failures_are_counted_and_are_no_failure_of_the_command() -> None:
    with scripted_server("server_error", well_before=3) as url:
        ended = load(url, *FEW, "--no-warmup")
    assert ended.code in (Exit.MEASURED, Exit.INVALID)
    assert "failed: 2 × HTTP 500: " in ended.out
    assert ended.out.splitlines()[2].endswith("  2/4")


def test_a_server_that_answers_no_more_after_its_last_good_answer_failed(tmp_path: Path) -> None:
    with TruthServer(ttft_s=0.05, itl_s=0.01) as server:
        process = start(server.url, "--rate", "10", "--duration", "2", "--output-tokens", "4", "--no-warmup")
        while len(server.log()) < 6:
            time.sleep(0.01)
    ended = end(process)
    assert ended.code in (Exit.SERVER_FAILED, Exit.INVALID)
    if ended.code == Exit.SERVER_FAILED:
        assert f"{server.url}: it stopped answering while it was measured" in ended.notes[0]
    assert "failed: " in ended.out


def test_nobody_there_is_told_on_one_line() -> None:
    with dead_url() as url:
        ended = load(url, "--timelines", "/dev/shm/never.jsonl")
    assert ended.code == Exit.SERVER_FAILED
    assert ended.out == ""
    assert ended.err.splitlines()[1:] == [
        f"llmperf: {url}: nothing answers HTTP there; tried for 3 s "
        "(ConnectError: [Errno 111] Connection refused)"
    ]
    assert not Path("/dev/shm/never.jsonl").exists()


def test_an_unknown_host_is_told_on_one_line() -> None:
    ended = load("http://nobody.invalid:8000")
    assert ended.code == Exit.SERVER_FAILED
    assert len(ended.err.splitlines()) == 2
    assert "llmperf: http://nobody.invalid:8000: nothing answers HTTP there" in ended.err


def test_a_first_answer_that_is_none_says_all_that_was_tried() -> None:
    with scripted_server("server_error") as url:
        ended = load(url, *FEW)
    assert ended.code == Exit.SERVER_FAILED
    assert ended.err.count("HTTP 500: ") == 4
    assert "which was not started from here" not in ended.err


# --- when the run says nothing ------------------------------------------------------------------------


def test_an_invalid_run_says_why_and_keeps_its_timelines(tmp_path: Path) -> None:
    path, told = tmp_path / "t.jsonl", tmp_path / "run.json"
    with TruthServer(cached_tokens=20) as server:
        ended = load(server.url, *FEW, "--timelines", path, "--json", told)
    assert ended.code == Exit.INVALID
    _, _, problems = ended.out.partition("INVALID: this run says nothing about the server\n")
    assert "  100% of the prompt tokens came from the engine's prefix cache" in problems
    assert [line["usage"]["cached_tokens"] for line in timelines(path)] == [20] * 4
    assert json.loads(told.read_text())["outcome"] == "invalid"


# --- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--timelines", "--json"])
@pytest.mark.parametrize("place", ["read-only", "below a file", "a directory", "a device"])
def test_a_file_that_cannot_be_written_costs_no_run(option: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = {
        "read-only": Path("/proc/no/timelines.jsonl"),
        "below a file": tmp_path / "file" / "timelines.jsonl",
        "a directory": tmp_path,
        "a device": Path("/dev/null"),
    }[place]
    with TruthServer() as server:
        ended = load(server.url, *FEW, option, path)
        assert server.log() == {}
    assert ended.code == Exit.USAGE
    assert ended.err.startswith(f"llmperf: {path} cannot be written: ")
    assert len(ended.err.splitlines()) == 1


def test_a_file_that_cannot_be_written_any_more_is_written_somewhere(tmp_path: Path) -> None:
    directory, scratch = tmp_path / "gone", tmp_path / "scratch"
    scratch.mkdir()

    def wreck(wire: Wire) -> None:
        if directory.is_dir():
            directory.rmdir()
            directory.touch()
        bare(wire)

    with scripted_server(wreck, everything=True) as url:
        ended = load(url, *FEW, "--timelines", directory / "t.jsonl", TMPDIR=str(scratch))
    (kept,) = scratch.rglob("t.jsonl")
    assert f"llmperf: {directory}/t.jsonl cannot be written: " in ended.err
    assert f"; written to {kept} instead\n" in ended.err
    assert len(timelines(kept)) == 4
    assert "1 at once" in ended.out


def test_the_file_of_an_earlier_run_stays_until_there_is_another(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("earlier\n")
    with scripted_server("server_error") as url:
        load(url, *FEW, "--timelines", path)
    assert path.read_text() == "earlier\n"
    assert list(tmp_path.iterdir()) == [path]


# --- when the person has had enough -------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["asking", "warming up", "measuring"])
def test_ctrl_c_ends_it_at_once_and_leaves_nothing(phase: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    well = {"asking": 0, "warming up": 1, "measuring": 1}[phase]
    quick = ["--no-warmup"] if phase == "measuring" else []
    with scripted_server("hang_in_stream", well_before=well) as url:
        process = start(url, *FEW[:-2], *quick, "--timelines", path)
        assert process.stderr is not None
        for line in process.stderr:
            if f"llmperf: {phase}" in line:
                break
        process.send_signal(signal.SIGINT)
        ended = end(process)
    assert ended.code == Exit.INTERRUPTED
    assert ended.err.splitlines()[-1] == "llmperf: interrupted; this run is not kept"
    assert ended.out == ""
    assert list(tmp_path.iterdir()) == []


# --- a real engine ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", [False, True], ids=["completions", "chat"])
def test_a_real_engine(chat: bool, tmp_path: Path) -> None:
    launch = Launch(
        parse_subject("llamacpp --parallel 2"),
        LlamaCpp(),
        None,
        place=LocalProcess(),
        log=tmp_path / "engine.log",
        startup_timeout_s=60,
        request_timeout_s=60,
        waiting=lambda elapsed_s, line: None,
        watch=lambda sent, ended: None,
    )
    path = tmp_path / "t.jsonl"
    asked = ("--rate", "5", "--requests", "10", "--input-tokens", "64", "--output-tokens", "16")
    try:
        ended = load(launch.server.url, *asked, "--timelines", path, *(["--chat"] if chat else []))
    finally:
        launch.stop()
    assert ended.code in (Exit.MEASURED, Exit.INVALID)
    lines = timelines(path)
    assert len(lines) == 10
    for line in lines:
        assert line["error"] is None
        assert line["usage"]["completion_tokens"] == 16
        assert line["usage"]["prompt_tokens"] == 64
        assert 1 <= len(line["token_ns"]) <= 16
    assert ended.notes == []
