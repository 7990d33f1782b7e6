"""Fetching, from a server on this machine that can be told to break off."""

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.fetch import main
from selfsv.errors import InputError
from selfsv.prepare.downloads import SOURCES, Source, fetch

LIST = b"".join(b"%d id1/a/%d.wav id2/b/%d.wav\n" % (number % 2, number, number) for number in range(500))


class Site(ThreadingHTTPServer):
    """Files by their paths. `longest` bytes of one are sent, then the connection breaks; `asked` has the ranges."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.longest, self.ranges, self.asked = 1 << 30, True, []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site: Site = self.server
        content, asked = site.files.get(self.path[1:]), self.headers.get("Range")
        site.asked.append(asked)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and site.ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + site.longest])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield site
    site.shutdown()
    site.server_close()


def archive(kind: str, members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            for name, content in members.items():
                packed.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w:gz") as packed:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                packed.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def source_of(site: Site, name: str, content: bytes, **more: object) -> Source:
    site.files[name] = content
    return Source(site.url(name), **more)


def test_a_list_is_fetched_once(site, tmp_path):
    source = source_of(site, "list.txt", LIST, trials=500)
    for _ in range(2):
        assert fetch(source, tmp_path).read_bytes() == LIST
    assert len(site.asked) == 1 and [path.name for path in tmp_path.iterdir()] == ["list.txt"]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize("ranges", [True, False])
def test_an_archive_goes_on_where_it_broke_off(site, tmp_path, kind, ranges):
    """From a server that sends parts, and from one that sends all of it again."""
    content = archive(kind, {"noise/free/one.wav": bytes(range(256)) * 40, "noise/README": b"read me"})
    source = source_of(site, f"noise.{kind}", content, md5=hashlib.md5(content).hexdigest(), folder="noise")
    site.longest, site.ranges = len(content) // 3, ranges
    with pytest.raises(InputError, match=f"{site.longest:,} bytes are here; the next call goes on"):
        fetch(source, tmp_path)
    assert not (tmp_path / "noise").exists()
    site.longest = 1 << 30
    place = fetch(source, tmp_path)
    assert (place / "README").read_bytes() == b"read me" and len((place / "free" / "one.wav").read_bytes()) == 10240
    assert site.asked == [None, f"bytes={len(content) // 3}-"]
    assert [path.name for path in tmp_path.iterdir()] == ["noise"]


def test_a_file_that_is_whole_already_is_not_asked_for_again(site, tmp_path):
    """A call that ended between the last byte and the unpacking."""
    content = archive("zip", {"noise/one.wav": b"1"})
    source = source_of(site, "noise.zip", content, md5=hashlib.md5(content).hexdigest(), folder="noise")
    (tmp_path / ".noise.zip.partial").write_bytes(content)
    assert (fetch(source, tmp_path) / "one.wav").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("content", "known", "message"),
    [
        (b"another archive", {"md5": "0" * 32, "folder": "noise"}, f"MD5 is {hashlib.md5(b'another archive').hexdigest()}, not 00000"),
        (LIST[: len(LIST) // 2], {"trials": 500}, "is no trial list|has 2.. trials, not 500"),
        (b"<html>moved</html>", {"trials": 500}, "is no trial list"),
    ],
)
def test_what_is_something_else_is_refused_and_removed(site, tmp_path, content, known, message):
    with pytest.raises(InputError, match=message):
        fetch(source_of(site, "what.txt", content, **known), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../outside", "/outside"])
def test_an_archive_writes_nowhere_else(site, tmp_path, name):
    content = archive("tar.gz", {name: b"x", "noise/one.wav": b"1"})
    into = tmp_path / "downloads"
    source = source_of(site, "noise.tar.gz", content, md5=hashlib.md5(content).hexdigest(), folder="noise")
    if name.startswith("/"):
        assert fetch(source, into).is_dir()  # taken as a name inside
    else:
        with pytest.raises(InputError, match="cannot be unpacked"):
            fetch(source, into)
    assert {path.name for path in tmp_path.iterdir()} == {"downloads"} and not (into / "outside").exists()


def test_the_stage_writes_down_where_a_list_came_from(site, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "vox1_o", source_of(site, "veri_test2.txt", LIST, trials=500))
    output = tmp_path / "downloads" / "vox1_o.json"
    monkeypatch.setattr("sys.argv", ["fetch", "--source", "vox1_o", "--output", str(output)])
    main()
    assert json.loads(output.read_text()) == {
        "path": str(output.parent / "veri_test2.txt"),
        "url": site.url("veri_test2.txt"),
        "trials": 500,
    }
    assert (output.parent / "veri_test2.txt").read_bytes() == LIST


def test_an_address_that_does_not_answer_is_named(site, tmp_path):
    with pytest.raises(InputError, match=r"nothing\.txt cannot be fetched: HTTP Error 404"):
        fetch(Source(site.url("nothing.txt"), trials=1), tmp_path)


def test_the_cleaned_lists_are_shorter_than_the_paper_s():
    """Whose sizes are those of the paper's section on data."""
    assert [SOURCES[f"vox1_{part}_original"].trials for part in "oeh"] == [37_720, 581_480, 552_536]
    assert all(SOURCES[f"vox1_{part}"].trials < SOURCES[f"vox1_{part}_original"].trials for part in "oeh")
