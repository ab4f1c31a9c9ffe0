"""Public traces: fetched from a server on this machine, checked, resumed, and what is said when that fails."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.files import read_json, sha256
from wattlane.workload.downloading import download, public_traces, record_of

BODY = b"arrival_s,input_tokens,output_tokens\n" + b"".join(b"%d,10,2\n" % i for i in range(60_000))


class Origin:
    """A server of one file, with its faults: `cut` ends the answer early, `ranges` says whether it can resume."""

    def __init__(self) -> None:
        self.body, self.cut, self.ranges, self.status = BODY, 0, True, 200
        self.asked: list[str | None] = []
        self.url = ""


@pytest.fixture
def origin() -> Iterator[Origin]:
    state = Origin()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            status = 206 if start else state.status
            data = state.body[start:]
            if start >= len(state.body):
                status, data = 416, b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: state.cut or None])

        def log_message(self, *_: object) -> None: ...

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{running.server_port}/trace.csv"
    yield state
    running.shutdown()
    thread.join()
    running.server_close()


def registry(folder: Path, url: str, *, digest: str | None = "", size: bool = True) -> Path:
    path = folder / "traces.toml"
    lines = ["[mine]", 'file = "trace.csv"', f'url = "{url}"', 'licence = "CC0"', 'attribution = "nobody"']
    if digest is not None:
        lines.append(f'sha256 = "{digest or hashlib.sha256(BODY).hexdigest()}"')
    if size:
        lines.append(f"bytes = {len(BODY)}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_trace_is_fetched_checked_and_not_fetched_again(origin: Origin, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    listed = registry(tmp_path, origin.url)
    path = download("mine", tmp_path / "new", registry=listed, progress=lambda *now: seen.append(now))
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert len(seen) > 1
    record = read_json(record_of(path), "download")
    assert (record["verified"], record["bytes"], record["licence"]) == (True, len(BODY), "CC0")
    assert download("mine", tmp_path / "new", registry=listed) == path
    assert len(origin.asked) == 1
    assert not list((tmp_path / "new").glob("*.part"))


@pytest.mark.parametrize("known", [True, False])
def test_a_download_that_broke_off_is_resumed_where_it_stopped(origin: Origin, tmp_path: Path, known: bool) -> None:
    listed = registry(tmp_path, origin.url, digest="" if known else None, size=known)
    origin.cut = 300_000
    with pytest.raises(InputError, match="to resume"):
        download("mine", tmp_path, registry=listed)
    have = (tmp_path / "trace.csv.part").stat().st_size
    assert 0 < have <= 300_000
    assert not (tmp_path / "trace.csv").exists()
    origin.cut = 0
    assert download("mine", tmp_path, registry=listed).read_bytes() == BODY
    assert origin.asked == [None, f"bytes={have}-"]


def test_a_server_that_cannot_resume_starts_over(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "trace.csv.part").write_bytes(b"x" * 1000)
    origin.ranges = False
    assert download("mine", tmp_path, registry=registry(tmp_path, origin.url)).read_bytes() == BODY


@pytest.mark.parametrize("size", [True, False])
def test_a_complete_part_is_taken_without_its_bytes_again(origin: Origin, tmp_path: Path, size: bool) -> None:
    (tmp_path / "trace.csv.part").write_bytes(BODY)
    assert download("mine", tmp_path, registry=registry(tmp_path, origin.url, size=size)).read_bytes() == BODY
    assert origin.asked == ([] if size else [f"bytes={len(BODY)}-"])


def test_a_wrong_hash_is_refused_and_nothing_is_left(origin: Origin, tmp_path: Path) -> None:
    origin.body = BODY.replace(b"10,2", b"11,2", 1)
    with pytest.raises(InputError, match=r"found sha256 .*; expected .*; it was removed"):
        download("mine", tmp_path, registry=registry(tmp_path, origin.url))
    assert [path.name for path in tmp_path.iterdir()] == ["traces.toml"]


def test_a_file_that_was_changed_afterwards_is_noticed(origin: Origin, tmp_path: Path) -> None:
    listed = registry(tmp_path, origin.url)
    path = download("mine", tmp_path, registry=listed)
    path.write_bytes(b"changed")
    with pytest.raises(InputError, match="remove the file to fetch it again"):
        download("mine", tmp_path, registry=listed)
    assert path.read_bytes() == b"changed"


def test_without_a_known_hash_the_hash_found_is_recorded_and_held_to(origin: Origin, tmp_path: Path) -> None:
    listed = registry(tmp_path, origin.url, digest=None, size=False)
    path = download("mine", tmp_path, registry=listed)
    record = read_json(record_of(path), "download")
    assert record["verified"] is False
    assert record["sha256"] == sha256(path)
    path.write_bytes(BODY + b"1")
    with pytest.raises(InputError, match="found sha256"):
        download("mine", tmp_path, registry=listed)


def test_a_file_placed_by_hand_is_checked_and_recorded(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_bytes(BODY)
    path = download("mine", tmp_path, registry=registry(tmp_path, "https://unreachable.invalid/trace.csv"))
    assert read_json(record_of(path), "download")["verified"] is True


def test_without_a_connection_it_says_where_to_place_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="place the file by hand") as raised:
        download("mine", tmp_path / "here", registry=registry(tmp_path, "http://127.0.0.1:9/trace.csv"))
    assert str(tmp_path / "here" / "trace.csv") in str(raised.value)


def test_a_refusal_of_the_server_is_reported(origin: Origin, tmp_path: Path) -> None:
    origin.status = 404
    with pytest.raises(InputError, match="answered 404"):
        download("mine", tmp_path, registry=registry(tmp_path, origin.url))


def test_a_file_address_works(tmp_path: Path) -> None:
    source = tmp_path / "source.csv"
    source.write_bytes(BODY)
    path = download("mine", tmp_path / "out", registry=registry(tmp_path, source.as_uri()))
    assert path.read_bytes() == BODY


def test_an_open_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an https, file or local http"):
        download("mine", tmp_path, registry=registry(tmp_path, "http://example.invalid/trace.csv"))


def test_an_unknown_trace_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="azure-2023-conv"):
        download("azure-2023-con", tmp_path)


@pytest.mark.parametrize("text", ["[mine]\nfile = 1\nurl = 2", "[mine", "[mine]\ncolour = 1"])
def test_a_broken_registry_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "traces.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError, match="expected a table for each trace"):
        public_traces(path)


def test_the_shipped_registry_pins_every_trace() -> None:
    traces = public_traces()
    assert set(traces) == {"azure-2023-code", "azure-2023-conv", "mooncake-conversation", "burstgpt-1"}
    for trace in traces.values():
        assert trace.url.startswith("https://")
        assert trace.sha256 is not None
        assert len(trace.sha256) == 64
        assert trace.bytes is not None
        assert "master" not in trace.url


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("azure-2023-code", "azure-llm-2023/AzureLLMInferenceTrace_code.csv"),
        ("azure-2023-conv", "azure-llm-2023/AzureLLMInferenceTrace_conv.csv"),
        ("mooncake-conversation", "mooncake-fast25/conversation_trace.jsonl"),
    ],
)
def test_the_shipped_hashes_are_those_of_the_real_files(data_dir: Path, name: str, found: str) -> None:
    path = data_dir / "traces" / found
    assert (public_traces()[name].sha256, public_traces()[name].bytes) == (sha256(path), path.stat().st_size)
