"""Who may ask: names, origins, tokens, and paths that lead nowhere."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints
from urllib.parse import quote, unquote

import pytest

from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.studio.addresses import Doors, host_name
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
    assert (answer.status_code, answer.headers["location"]) == (303, "./"), "of wherever a proxy serves it"
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


ORIGINS = [
    # of a proxy that takes the port off, the browser says that the page asks its own address
    ("localhost", "http://localhost:8080", {"Sec-Fetch-Site": "same-origin"}, True),
    ("studio.example", "https://studio.example:8443", {"Sec-Fetch-Site": "same-origin"}, True),
    ("localhost", "http://localhost:8080", {"Sec-Fetch-Site": "same-site"}, False),
    # or the proxy says how it was asked
    ("localhost", "http://localhost:8080", {"X-Forwarded-Port": "8080"}, True),
    ("localhost", "http://localhost:8080", {"X-Forwarded-Port": "80"}, False),
    ("127.0.0.1:8000", "http://studio.example:81", {"X-Forwarded-Host": "studio.example:81"}, True),
    ("127.0.0.1", "http://studio.example:81", {"X-Forwarded-Host": "studio.example", "X-Forwarded-Port": "81"}, True),
    ("127.0.0.1:8000", "http://studio.example:81", {"X-Forwarded-Host": "studio.example:82"}, False),
    # or whoever started the studio has
    ("proxied.example", "http://proxied.example:8080", {}, True),
    ("127.0.0.1:8000", "http://proxied.example:8080", {}, True),
    ("proxied.example", "http://proxied.example:8081", {}, False),
    ("proxied.example:8080", "http://proxied.example:8080", {}, True),
    # nobody else listens on the studio's own port of this machine
    ("127.0.0.1", "http://127.0.0.1:8000", {}, True),
    ("localhost", "http://localhost:8000", {}, True),
    ("localhost", "http://localhost:9999", {}, False),
    ("studio.example", "http://studio.example:8000", {}, False),
    # a port that goes without saying
    ("studio.example:443", "https://studio.example", {}, True),
    ("studio.example", "https://studio.example:443", {}, True),
    ("studio.example:80", "https://studio.example", {}, False),
    # a name that points here from elsewhere (DNS rebinding), to the studio or to its proxy
    ("localhost", "http://evil.example:8000", {"Sec-Fetch-Site": "same-origin"}, False),
    ("127.0.0.1:8000", "http://evil.example", {"X-Forwarded-Host": "evil.example"}, False),
    ("localhost", "http://localhost.evil.example:8080", {"Sec-Fetch-Site": "same-origin"}, False),
    ("evil.example", "http://evil.example", {"X-Forwarded-Host": "localhost"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("host", "origin", "more", "own"), ORIGINS)
def test_pages_of_the_studio_behind_a_proxy_are_told_from_those_of_others(
    open_page: Any, host: str, origin: str, more: dict[str, str], own: bool
) -> None:
    client = open_page(names=("studio.example", "proxied.example:8080")).client
    answer = client.post("/v1/samples", json={"model": "x"}, headers={"Host": host, "Origin": origin, **more})
    assert answer.status_code == (404 if own else 403), answer.text


def test_a_proxy_that_takes_the_port_off_is_told_what_to_do(open_page: Any) -> None:
    client = open_page(names=("studio.example",)).client
    headers = {"Host": "studio.example", "Origin": "http://studio.example:81"}
    said = client.post("/v1/samples", json={"model": "x"}, headers=headers).json()["error"]
    assert "--name studio.example:81" in said
    assert "evil" not in client.post("/v1/samples", json={}, headers={"Origin": "http://evil.example"}).text


def test_a_name_that_a_proxy_passes_on_must_be_known(open_page: Any) -> None:
    client = open_page().client
    for name in ("evil.example", "evil.example, localhost", ""):
        answer = client.get("/v1/status", headers={"X-Forwarded-Host": name})
        assert answer.status_code == 403, name
    assert "--name evil.example" in client.get("/v1/status", headers={"X-Forwarded-Host": "evil.example"}).text
    assert client.get("/v1/status", headers={"X-Forwarded-Host": "localhost:80, inner"}).status_code == 200
    assert not Doors(host="", token=TOKEN).knows("evil@127.0.0.1"), "no name is not the name of all addresses"


@pytest.mark.parametrize("below", ["", "/tools/undiffuse"])
def test_a_proxy_may_serve_the_studio_below_a_path(open_page: Any, below: str) -> None:
    """Whether it takes that path off, as the studio is asked without it, or leaves it there."""
    client = open_page(path="/tools/undiffuse").client
    page = client.get(f"{below}/")
    assert page.status_code == 200
    addresses = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(addresses) > 5
    for address in addresses:  # they count from the page's own
        assert not address.startswith("/")
        assert client.get(f"{below}/{address}").status_code == 200
    job = client.post(f"{below}/v1/samples", json={"model": "digits", "settings": {"steps": 1}})
    assert job.headers["location"] == f"samples/{job.json()['id']}", "as it is seen from the call's own address"
    assert client.get(f"{below}/page/index.html", follow_redirects=False).headers["location"] == "../"
    assert client.get(f"{below}/v1/status").json()["version"]
    assert client.get(f"{below}/nothing").json()["error"]
    assert "href='openapi.json'" in client.get(f"{below}/docs").text
    assert client.get("/tools/undiffusex/").status_code == 404
    answer = client.get("/tools/undiffuse?token=x", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "undiffuse/?token=x")
    answer = client.get('/tools/undiffuse?a="<x>|{}', follow_redirects=False)
    assert answer.headers["location"].endswith(str(answer.request.url).partition("?")[2]), "a query goes on as it came"
    with pytest.raises(UndiffuseError, match="--path"):
        Address(path="/a//b")
    with pytest.raises(UndiffuseError, match="--name"):
        Address(names=("studio.example:port",))


def test_the_cookie_is_for_the_studio_alone(open_page: Any) -> None:
    """Not for what else a proxy serves under the same name: it counts below the address that was opened."""
    client = open_page(host="0.0.0.0", token=TOKEN, path="/tools/undiffuse").client
    answer = client.get(f"/tools/undiffuse/?token={TOKEN}", follow_redirects=False)
    assert "Path=" not in answer.headers["set-cookie"]
    assert client.get("/tools/undiffuse/v1/status").status_code == 200
    assert client.get("/v1/status").status_code == 401


def test_whatever_answers_get_answers_head(shared: Any) -> None:
    """A stream of events, which need not end, too."""
    job = shared.post("/v1/samples", {"model": "digits", "settings": {"steps": 1}})
    shared.images(job)
    (item, *_) = shared.get("/v1/gallery")["items"]
    ids = {"/v1/models/{id}": "a", "/v1/samples/{id}": job["id"], "/v1/samples/{id}/events": job["id"]}
    ids |= {"/v1/runs/{id}": "a", "/v1/runs/{id}/metrics": "a", "/v1/runs/{id}/events": "a"}
    described = [path for path, calls in shared.get("/openapi.json")["paths"].items() if "get" in calls]
    assert len(described) > 20
    for path in [*described, "/", "/docs", "/openapi.json", "/page/js/main.js", "/nothing"]:
        known = ids.get(path, "digits" if path.startswith("/v1/data") else "x")
        real = (
            path.replace("{id}", known).replace("{name}", item["id"]).replace("{suffix}", "gif").replace("{step}", "1")
        )
        real += "?runs=a&runs=b" if path == "/v1/compare" else ""
        with shared.client.stream("GET", real) as expected:
            expected.close()
        answer = shared.client.head(real)
        assert answer.status_code == expected.status_code, real
        assert answer.headers["content-type"] == expected.headers["content-type"]
        assert answer.content == b""
    assert shared.client.head("/v1/samples").status_code == 405


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
                "/v1/edits/vary", files={"request": (None, '{"model": "digits"}'), "image_id": (None, payload)}
            ),
        ]
        for answer in calls:
            assert answer.status_code in (404, 422), (payload, answer.request.url, answer.text)
            assert "root:" not in answer.text
        kept = shared.get("/v1/gallery")["items"]
        assert all(item in kept for item in shared.get("/v1/gallery?before=" + quote(payload, safe=""))["items"])


NO_PATHS = {
    "sampler",
    "classes",
    "text",
    "avoid",
    "weights",
    "vectors",
    "time_law",
    "loss",
    "optimizer",
    "guidance_rule",
}
"""Settings of free text that open nothing; 'weak' is a model's id, and 'validation' a number.""" ""


def test_every_setting_of_free_text_is_known_to_open_nothing_or_is_for_the_command_line() -> None:
    """A new setting that names a file must be kept from requests: this fails until somebody has said which it is."""
    settings = (*get_type_hints(TrainConfig).values(), *get_type_hints(SampleConfig).values())
    sections = [kind for kind in settings if is_dataclass(kind)]
    texts = {field.name for kind in sections for field in fields(kind) if "str" in str(field.type)}
    kept = {name for names in FOR_THE_COMMAND_LINE.values() for name in names}
    assert texts <= NO_PATHS | {"weak", "validation"} | kept


def test_symlinks_out_of_the_page_are_not_followed(tmp_path: Any) -> None:
    from starlette.requests import Request

    from undiffuse.studio.library.models import UnknownError
    from undiffuse.studio.page_files import page_file

    (tmp_path / "page").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "page" / "link.txt").symlink_to(tmp_path / "secret.txt")
    request = Request({"type": "http", "method": "GET", "headers": [], "path": "/"})
    with pytest.raises(UnknownError):
        page_file("link.txt", request, tmp_path / "page")
