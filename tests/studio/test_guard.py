"""Who may ask: names, origins, tokens, and paths that lead nowhere."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints
from urllib.parse import quote, unquote

import pytest

from undiffuse.config import SampleConfig, TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.studio.guard import Doors, host_name
from undiffuse.studio.limits import FOR_THE_COMMAND_LINE
from undiffuse.studio.serve import Address

TOKEN = "0123456789abcdef"
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "",
    "127.0.0.1@evil",
]
FOREIGN += ["evil@127.0.0.1", "127.0.0.1/evil", "169.254.169.254", "[::2]", "[", "127.0.0.1:port", "0.0.0.0"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:9", "[::1]:8000", "[::1]"])
def test_this_machine_is_known_by_its_names(shared: Any, host: str) -> None:
    assert shared.client.get("/v1/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
def test_foreign_names_are_refused(shared: Any, method: str, host: str) -> None:
    answer = shared.client.request(method, "/v1/status", headers={"Host": host})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1", "file://", "ftp://127.0.0.1:8000", ""],
)
def test_pages_of_other_origins_change_nothing(shared: Any, origin: str) -> None:
    for method, path in (("POST", "/v1/samples"), ("DELETE", "/v1/gallery/x"), ("POST", "/v1/runs"), ("PUT", "/v1/x")):
        answer = shared.client.request(method, path, headers={"Origin": origin}, json={"model": "digits"})
        assert answer.status_code == 403, (method, path)


def test_the_own_page_and_programs_may(shared: Any) -> None:
    for headers in ({}, {"Origin": "http://127.0.0.1:8000"}, {"Sec-Fetch-Site": "same-origin"}):
        assert shared.client.post("/v1/samples", json={"model": "x"}, headers=headers).status_code == 404
    answer = shared.client.post("/v1/samples", json={"model": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


def test_every_answer_says_that_nobody_else_may_use_it(shared: Any) -> None:
    for path in ("/", "/v1/status", "/v1/nothing", "/docs"):
        headers = shared.client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_a_token_is_needed_for_everything(open_page: Any) -> None:
    page = open_page(host="0.0.0.0", token=TOKEN)
    client = page.client
    for path in ("/", "/v1/status", "/page/js/main.js", "/docs", "/openapi.json", f"/v1/status?token={TOKEN}"):
        assert client.get(path).status_code == 401, path
    for shown in ("Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", "Bearer é"):
        assert client.get("/v1/status", headers={"Authorization": shown.encode()}).status_code == 401
    assert client.get("/v1/status", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert (
        client.get("/v1/status", headers={"Host": "192.0.2.7:80", "Authorization": f"Bearer {TOKEN}"}).status_code
        == 200
    )
    assert (
        client.get("/v1/status", headers={"Host": "evil.example", "Authorization": f"Bearer {TOKEN}"}).status_code
        == 403
    )


def test_the_address_with_the_token_becomes_a_cookie(open_page: Any) -> None:
    client = open_page(host="0.0.0.0", token=TOKEN).client
    assert client.get("/?token=wrong", follow_redirects=False).status_code == 401
    answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=Strict" in answer.headers["set-cookie"]
    assert client.get("/v1/status").status_code == 200  # the client keeps its cookies
    client.cookies.clear()
    client.cookies.set("undiffuse_token", "wrong")
    assert client.get("/v1/status").status_code == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_other_machines_need_a_token_or_nothing_starts(host: str) -> None:
    with pytest.raises(UndiffuseError, match="token"):
        Address(host)
    with pytest.raises(UndiffuseError, match="16 letters"):
        Address(host, token="short")
    with pytest.raises(UndiffuseError, match="16 letters"):
        Address(host, token="x" * 15 + ";")
    assert Address(host, token=TOKEN).token == TOKEN


def test_a_name_of_this_machine_can_be_given() -> None:
    assert Doors("0.0.0.0", TOKEN, ("studio.example",)).knows("studio.example:8000")
    assert not Doors("0.0.0.0", TOKEN).knows("studio.example:8000")
    assert not Doors().knows("192.0.2.7")
    assert host_name("[::1]:80") == "::1"


ROOTS = ["../../../etc/passwd", "/etc/passwd", "..\\..\\windows\\win.ini", "....//....//etc/passwd", "..", ".", "~root"]
WRAPPED = [f"{path}{tail}" for path in ROOTS for tail in ("", "\0.png", "%00", ".png", "/", "?x", "#x")]
PAYLOADS = sorted({*WRAPPED, *(quote(path, safe="") for path in WRAPPED)})[:56]
PAYLOADS += ["\u2215etc\u2215passwd", "%c0%ae%c0%ae/etc/passwd", "file:///etc/passwd", "digits/../../etc/passwd"]
PATHS = [
    "/page/{}", "/v1/models/{}", "/v1/samples/{}", "/v1/samples/{}/events", "/v1/gallery/{}", "/v1/gallery/{}.png",
    "/v1/gallery/{}/walk.webp", "/v1/gallery/00000000000000000000/walk.{}", "/v1/inputs/{}", "/v1/data/{}",
    "/v1/data/{}/sheet.png", "/v1/runs/{}", "/v1/runs/{}/metrics", "/v1/runs/{}/events",
    "/v1/runs/{}/samples/1.png", "/v1/runs/a/samples/{}.png",
]  # fmt: skip
VERBS = [
    ("POST", "/v1/gallery/{}/again"), ("DELETE", "/v1/gallery/{}"), ("DELETE", "/v1/samples/{}"),
    ("POST", "/v1/edits/{}"), ("DELETE", "/v1/data/{}"), ("POST", "/v1/runs/{}/pause"), ("POST", "/v1/runs/{}/stop"),
    ("POST", "/v1/runs/{}/resume"),
]  # fmt: skip
TRIED = [*(("GET", path) for path in PATHS), *VERBS]


def test_sixty_payloads_are_tried_on_every_path_that_takes_anything(shared: Any) -> None:
    assert len(set(PAYLOADS)) == 60
    tried = {(method, path.replace("{}", "*").replace("/a/", "/*/")) for method, path in TRIED}
    tried |= {(method, path.replace("/1.", "/*.").replace("walk.webp", "walk.*")) for method, path in tried}
    described = shared.get("/openapi.json")["paths"]
    there = {(method.upper(), re.sub("{.*?}", "*", path)) for path in described for method in described[path]}
    assert {call for call in there if "*" in call[1]} <= tried


def ask(app: Any, method: str, path: str) -> tuple[int, bytes]:
    """A request with this very path: a client would mend it first."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = path.encode("utf-8", "surrogateescape")
    scope = {"type": "http", "method": method, "path": path, "raw_path": raw, "query_string": b"", "scheme": "http"}
    scope |= {"headers": [(b"host", b"127.0.0.1:8000")], "http_version": "1.1", "root_path": ""}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize(("method", "path"), TRIED)
def test_no_path_leads_out(shared: Any, method: str, path: str) -> None:
    """Each payload as it is, and quoted once more, behind whatever unquotes."""
    for payload in PAYLOADS:
        for part in (payload, unquote(payload), quote(payload, safe="")):
            status, body = ask(shared.client.app, method, path.format(part))
            assert status in (400, 404, 405, 409, 422), (part, status, body[:200])
            assert b"root:" not in body
            assert "error" in json.loads(body)


def test_no_id_in_a_query_or_a_body_leads_out(shared: Any) -> None:
    for payload in PAYLOADS:
        calls = [
            shared.client.post("/v1/samples", json={"model": payload}),
            shared.client.post("/v1/samples", json={"model": "digits", "settings": {"weak": payload, "guidance": 2.0}}),
            shared.client.post("/v1/walk", json={"model": payload}),
            shared.client.post("/v1/gallery/grid", json={"ids": [payload]}),
            shared.client.post("/v1/runs", json={"data": payload, "steps": 1}),
            shared.client.post("/v1/runs", json={"data": "digits", "steps": 1, "recipe": payload}),
            shared.client.post("/v1/runs", json={"data": "digits", "steps": 1, "name": payload}),
            shared.client.get("/v1/compare", params={"runs": ["a", payload]}),
            shared.client.get("/v1/pictures", params={"source": "samples", "model": payload}),
            shared.client.post(
                "/v1/edits/vary", data={"request": '{"model": "digits"}', "image_id": payload}, files={"x": b""}
            ),
        ]
        for answer in calls:
            assert answer.status_code in (404, 422), (payload, answer.request.url, answer.text)
            assert "root:" not in answer.text
        assert shared.get("/v1/gallery?before=" + quote(payload, safe=""))["items"] == []


NO_PATHS = {"sampler", "classes", "text", "avoid", "weights", "vectors", "time_law"}
"""Settings of free text that open nothing; 'weak' is a model's id."""


def test_every_setting_of_free_text_is_known_to_open_nothing_or_is_for_the_command_line() -> None:
    """A new setting that names a file must be kept from requests: this fails until somebody has said which it is."""
    sections = [kind for kind in get_type_hints(TrainConfig).values() if is_dataclass(kind)]
    texts = {field.name for kind in (SampleConfig, *sections) for field in fields(kind) if "str" in str(field.type)}
    kept = {name for names in FOR_THE_COMMAND_LINE.values() for name in names}
    assert texts <= NO_PATHS | {"weak"} | kept


def test_symlinks_out_of_the_page_are_not_followed(tmp_path: Any) -> None:
    from starlette.requests import Request

    from undiffuse.studio.page_files import page_file
    from undiffuse.studio.shelf import UnknownError

    (tmp_path / "page").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "page" / "link.txt").symlink_to(tmp_path / "secret.txt")
    request = Request({"type": "http", "method": "GET", "headers": [], "path": "/"})
    with pytest.raises(UnknownError):
        page_file("link.txt", request, tmp_path / "page")
