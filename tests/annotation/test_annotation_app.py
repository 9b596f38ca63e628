"""The page's server: what it stores, what it refuses, and whom."""

import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from lae_tf.annotation.app import create_app
from lae_tf.annotation.items import Item
from lae_tf.annotation.store import AnnotationStore
from lae_tf.errors import UsageError
from lae_tf.images.files import read_mask

HEIGHT, WIDTH = 12, 17
PNG = {"content-type": "image/png"}


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def items(tmp_path):
    result = []
    for rank in (1, 2, 3):
        path = tmp_path / f"{rank}" / "same name.png"
        path.parent.mkdir()
        path.write_bytes(png(np.full((HEIGHT, WIDTH, 3), 40 * rank, np.uint8)))
        result.append(Item(rank, path, f"reason {rank}"))
    heat = tmp_path / "heat.png"
    heat.write_bytes(png(np.full((4, 4), 200, np.uint8)))
    return [result[0], Item(2, result[1].image, "reason 2", attention=heat), result[2]]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "annotations"


@pytest.fixture
def client(items, folder):
    return TestClient(create_app(items, folder), base_url="http://127.0.0.1:8000")


@pytest.fixture
def drawn():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:7, 2:9] = 255
    return mask


def test_a_verdict_of_any_size_or_depth_is_refused(client, monkeypatch):
    monkeypatch.setattr("lae_tf.annotation.request_body.LARGEST_BODY", 200_000)
    headers = {"Content-Type": "application/json"}
    deep = client.put("/api/verdicts/0", content=b"[" * 100_000, headers=headers)
    assert deep.status_code == 400
    huge = client.put("/api/verdicts/0", content=b" " * 200_001, headers=headers)
    assert huge.status_code == 413 and "more than" in huge.text


def put_verdict(client, index, verdict):
    return client.put(f"/api/verdicts/{index}", json={"verdict": verdict})


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_page_and_its_parts_are_served_and_need_nothing_from_outside(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for name in ("style.css", "app.js", "mask.js", "server.js", "view.js"):
        part = client.get(f"/static/{name}")
        assert part.status_code == 200
        assert "http://" not in part.text
        assert "https://" not in part.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name", ["../app.py", "..%2fapp.py", "app.py", "%2e%2e/app.py", "index.html/../../app.py", "x"]
)
def test_no_other_file_is_served(client, name):
    assert client.get(f"/static/{name}").status_code == 404


def test_items_in_order(client):
    listed = client.get("/api/items").json()["items"]
    assert [item["reason"] for item in listed] == ["reason 1", "reason 2", "reason 3"]
    assert [item["attention"] for item in listed] == [False, True, False]
    assert listed[0] == {
        "name": "1/same name.png",
        "reason": "reason 1",
        "attention": False,
        "surroundings": None,
        "mask": False,
        "verdict": None,
    }


def test_images_and_attention(client):
    image = Image.open(io.BytesIO(client.get("/api/images/1").content))
    assert (image.size, image.getpixel((0, 0))) == ((WIDTH, HEIGHT), (80, 80, 80))
    assert Image.open(io.BytesIO(client.get("/api/attention/1").content)).size == (4, 4)
    assert client.get("/api/attention/0").status_code == 404
    assert client.get("/api/masks/0").status_code == 404


@pytest.mark.parametrize("index", ["3", "99999999999999999999", "-1", "x"])
def test_images_that_are_not_there(client, index):
    assert client.get(f"/api/images/{index}").status_code in (404, 422)


def test_damaged_image_is_said(client, items):
    items[2].image.write_bytes(b"\x89PNG\r\n\x1a\n")
    answer = client.get("/api/images/2")
    assert answer.status_code == 422
    assert str(items[2].image) in answer.text


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA"])
def test_saved_mask_is_on_disk_when_the_request_returns(client, items, folder, drawn, mode):
    answer = client.put("/api/masks/0", content=png(drawn, mode), headers=PNG)
    assert answer.json() == {"verdict": None, "mask": True}
    assert files(folder) == [f"{items[0].name}.png"]
    np.testing.assert_array_equal(np.array(Image.open(folder / f"{items[0].name}.png")), drawn)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(client.get("/api/masks/0").content))), drawn)


def test_empty_mask_is_removed_and_ends_done(client, folder, drawn):
    client.put("/api/masks/0", content=png(drawn), headers=PNG)
    assert put_verdict(client, 0, "done").json() == {"verdict": "done"}
    assert client.put("/api/masks/0", content=png(0 * drawn), headers=PNG).json() == {"verdict": None, "mask": False}
    assert files(folder) == ["verdicts.json"]
    assert json.loads((folder / "verdicts.json").read_text()) == {}


def test_drawing_contradicts_not_a_fake(client, drawn):
    put_verdict(client, 0, "not_fake")
    assert client.put("/api/masks/0", content=png(drawn), headers=PNG).json()["verdict"] is None


def test_done_stays_while_a_mask_is_corrected(client, drawn):
    client.put("/api/masks/0", content=png(drawn), headers=PNG)
    put_verdict(client, 0, "done")
    assert client.put("/api/masks/0", content=png(255 - drawn), headers=PNG).json()["verdict"] == "done"


def test_done_without_a_mask_is_refused(client, folder):
    answer = put_verdict(client, 0, "done")
    assert answer.status_code == 422
    assert "nothing is drawn" in answer.text
    assert files(folder) == []


def test_state_outlives_the_server(client, items, folder, drawn):
    client.put("/api/masks/1", content=png(drawn), headers=PNG)
    put_verdict(client, 1, "done")
    put_verdict(client, 2, "not_fake")
    again = TestClient(create_app(items, folder), base_url="http://127.0.0.1")
    assert [item["verdict"] for item in again.get("/api/items").json()["items"]] == [None, "done", "not_fake"]
    problems: list[str] = []
    decided = list(AnnotationStore(folder, items).drawings(problems))
    assert not problems
    assert [(drawing.item.rank, drawing.mask is None) for drawing in decided] == [(2, False), (3, True)]
    np.testing.assert_array_equal(decided[0].mask, drawn // 255)


def test_drawn_but_not_done_is_no_decision(client, items, folder, drawn):
    client.put("/api/masks/1", content=png(drawn), headers=PNG)
    assert list(AnnotationStore(folder, items).drawings([])) == []


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 50000 x 50000 pixels."""
    head = (50000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no image",
        png(np.zeros((HEIGHT, WIDTH), np.uint8))[:-30],
        png(np.zeros((WIDTH, HEIGHT), np.uint8)),
        b"GIF89a" + bytes(100),
        bomb(),
    ],
    ids=["empty", "text", "truncated", "other size", "other format", "bomb"],
)
def test_bad_masks_are_refused_and_change_nothing(client, items, folder, drawn, body):
    client.put("/api/masks/0", content=png(drawn), headers=PNG)
    answer = client.put("/api/masks/0", content=body, headers=PNG)
    assert answer.status_code == 422
    assert "mask" in answer.text
    np.testing.assert_array_equal(np.array(Image.open(folder / f"{items[0].name}.png")), drawn)
    assert files(folder) == [f"{items[0].name}.png"]


def test_oversized_body_is_refused(client, folder, monkeypatch):
    monkeypatch.setattr("lae_tf.annotation.request_body.LARGEST_BODY", 1000)
    assert client.put("/api/masks/0", content=bytes(1001), headers=PNG).status_code == 413
    assert files(folder) == []


@pytest.mark.parametrize("body", ["", "[]", '{"verdict": "fine"}', '{"verdict": ["done"]}', "{}", "\ud800"])
def test_bad_verdicts_are_refused(client, folder, body):
    content = body.encode("utf-8", "surrogatepass")
    answer = client.put("/api/verdicts/0", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert files(folder) == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "localhost.evil.example:80"])
def test_foreign_host_is_refused(client, host):
    assert client.get("/api/items", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:9", "[::1]:8000", "192.168.0.7"])
def test_own_hosts_are_served(client, host):
    assert client.get("/api/items", headers={"host": host}).status_code == 200


def test_named_host_is_served(items, folder):
    client = TestClient(create_app(items, folder, "Box.Lan"), base_url="http://box.lan:80")
    assert client.get("/api/items").status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9000", "http://127.0.0.1"])
def test_writes_of_other_sites_are_refused(client, folder, drawn, origin):
    headers = {**PNG, "origin": origin}
    assert client.put("/api/masks/0", content=png(drawn), headers=headers).status_code == 403
    assert files(folder) == []


def test_writes_of_the_page_itself_are_accepted(client, drawn):
    headers = {**PNG, "origin": "http://127.0.0.1:8000"}
    assert client.put("/api/masks/0", content=png(drawn), headers=headers).status_code == 200


def test_forms_cannot_write(client, folder, drawn):
    assert client.post("/api/masks/0", content=png(drawn), headers=PNG).status_code == 405
    assert client.put("/api/masks/0", content=png(drawn), headers={"content-type": "text/plain"}).status_code == 415
    headers = {"content-type": "text/plain"}
    assert client.put("/api/verdicts/0", content=b'{"verdict": "skipped"}', headers=headers).status_code == 415
    assert files(folder) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"0007-other": "done"}', "another selection"), ('{"0001-same_name": "fine"}', "damaged"), ("{", "not JSON")],
)
def test_folder_of_another_selection_is_refused(items, folder, content, message):
    folder.mkdir()
    (folder / "verdicts.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        create_app(items, folder)


def test_a_mask_that_another_tab_has_changed_is_kept(client, folder, drawn):
    seen = client.get("/api/masks/0")
    assert seen.status_code == 404
    before = {**PNG, "If-Match": seen.headers["etag"]}
    saved = client.put("/api/masks/0", content=png(drawn), headers=before)
    assert saved.status_code == 200 and client.get("/api/masks/0").headers["etag"] == saved.headers["etag"]
    stale = client.put("/api/masks/0", content=png(0 * drawn), headers=before)
    assert stale.status_code == 412 and "changed elsewhere" in stale.text
    (kept,) = folder.glob("*.png")
    assert read_mask(kept).sum() == 4 * 7
    after = {**PNG, "If-Match": saved.headers["etag"]}
    assert client.put("/api/masks/0", content=png(0 * drawn), headers=after).status_code == 200


# --- For how long an image was open ---------------------------------------------------------------------------


def test_seconds_add_up_and_survive(client, items, folder):
    for index, seconds in ((0, 12.34), (1, 3), (0, 7.5)):
        assert client.post(f"/api/seconds/{index}", json={"seconds": seconds}).status_code == 200
    assert json.loads((folder / "seconds.json").read_text()) == {items[0].name: 19.8, items[1].name: 3}
    store = AnnotationStore(folder, items)
    assert [store.seconds(item) for item in items] == [19.8, 3, 0]


@pytest.mark.parametrize("seconds", ["-1", "1e9", "NaN", "Infinity", "true", '"5"', "null"])
def test_what_is_no_time_is_refused(client, folder, seconds):
    content = f'{{"seconds": {seconds}}}'.encode()
    answer = client.post("/api/seconds/0", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422 and "from 0 to 86400" in answer.text
    assert not folder.exists()


def test_damaged_seconds_are_said(items, folder):
    folder.mkdir()
    (folder / "seconds.json").write_text(json.dumps({items[0].name: "long"}))
    with pytest.raises(UsageError, match=r"seconds\.json: is damaged; expected a number of seconds"):
        create_app(items, folder)
