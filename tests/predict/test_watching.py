"""A watched folder: every image once, whole, and again only when it changed."""

import itertools
import os
import signal
import subprocess
import sys
import threading

import pytest
from PIL import Image

from lae_tf.predict import watching
from lae_tf.predict.watching import arrivals


@pytest.fixture
def looks(tmp_path, monkeypatch):
    """Look at a folder some times; between two looks the test acts in place of the time that passes."""
    folder = tmp_path / "inbox"
    folder.mkdir()

    class Looks:
        place = folder

        def after(self, *acts):
            """Return what each look found that found something; act number i comes after look number i."""
            waiting = iter(acts)

            def passes(seconds):
                act = next(waiting, None)
                if act is None:
                    raise StopWatching
                act()

            monkeypatch.setattr(watching.time, "sleep", passes)
            found = []
            with pytest.raises(StopWatching):
                for one in arrivals(str(folder)):
                    found.append(([os.path.relpath(path, folder) for path in one.images], one.left_out))
            return found

    return Looks()


class StopWatching(Exception):
    pass


def nothing():
    pass


clock = itertools.count(1_700_000_000)


def write(path, content=b"\xff\xd8\xff"):
    """Write a file, and see to it that its time of change is another one."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (now := next(clock), now))


def test_what_is_there_and_what_arrives_comes_once(looks):
    write(looks.place / "a.jpg")
    write(looks.place / "more" / "b.png")
    found = looks.after(nothing, lambda: write(looks.place / "c.jpg"), nothing, nothing, nothing)
    assert [images for images, _ in found] == [["a.jpg", "more/b.png"], ["c.jpg"]]


def test_a_file_that_grows_waits_until_it_is_whole(looks):
    path = looks.place / "a.jpg"
    parts = [lambda size=size: write(path, bytes(size)) for size in (0, 10, 20, 30)]
    found = looks.after(*parts, nothing, nothing)
    assert [images for images, _ in found] == [["a.jpg"]]
    # Not after any earlier look: the last part came with the fourth.
    assert looks.after(*(lambda size=size: write(path, bytes(size)) for size in (40, 50, 60))) == []


def test_an_empty_or_hidden_file_is_no_image_yet(looks):
    write(looks.place / "a.jpg", b"")
    write(looks.place / ".b.jpg.part.jpg")
    assert looks.after(nothing, nothing) == []


def test_a_file_that_changes_comes_again(looks):
    path = looks.place / "a.jpg"
    write(path)
    found = looks.after(nothing, nothing, lambda: write(path, b"\xff\xd8\xff\xe0"), nothing, nothing)
    assert [images for images, _ in found] == [["a.jpg"], ["a.jpg"]]


def test_what_cannot_be_read_is_told_once(looks):
    write(looks.place / "phone.heic", b"\0\0\0\x18ftypheic")
    (looks.place / "link").symlink_to(looks.place.parent, target_is_directory=True)
    (images, left_out), *more = looks.after(nothing, nothing, nothing)
    assert images == [] and more == []
    assert sorted(os.path.basename(one.path) for one in left_out) == ["link", "phone.heic"]


def test_a_folder_that_goes_and_comes_back_is_no_arrival(looks):
    write(looks.place / "a.jpg")
    away = looks.place.with_name("away")
    acts = (nothing, lambda: looks.place.rename(away), nothing, lambda: away.rename(looks.place), nothing, nothing)
    (first, _), (second, left_out) = looks.after(*acts)
    assert first == ["a.jpg"] and second == [] and "cannot be looked into" in left_out[0].sentence


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_prints_a_line_each_until_it_is_interrupted(trained_run, tmp_path):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    Image.new("RGB", (40, 40), (90, 120, 30)).save(inbox / "a.png")
    (inbox / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    arguments = ["predict", trained_run.path, "--watch", inbox, "--json", "--heatmaps", tmp_path / "maps"]
    command = [sys.executable, "-m", "lae_tf.cli.main", *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        stop = threading.Timer(120, process.kill)
        stop.start()
        first, second = process.stdout.readline(), process.stdout.readline()
        Image.new("RGB", (40, 40), (20, 20, 130)).save(inbox / "later.png")
        third = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
        stop.cancel()
    assert process.returncode == 130 and rest == "", errors
    assert "a.png" in first and '"score"' in first and '"digest"' in first
    assert "bad.png" in second and '"error"' in second and errors.count("Skipped: ") == 1
    assert "later.png" in third and (tmp_path / "maps" / "later.png.png").is_file()
    assert errors.rstrip().endswith("Interrupted.")


@pytest.mark.parametrize(
    "more, said",
    [
        (["--csv", "x.csv"], "--watch never ends"),
        (["--heatmaps", "INBOX/maps"], "where pictures would be scored"),
        (["--whole"], "--whole is for models of the view 'faces'"),
        (["INBOX"], "says what to score"),
    ],
)
def test_what_does_not_go_with_it(trained_run, tmp_path, lae_tf_command, more, said):
    (tmp_path / "inbox").mkdir()
    more = [word.replace("INBOX", str(tmp_path / "inbox")) for word in more]
    code, out, err = lae_tf_command("predict", trained_run.path, *more, "--watch", tmp_path / "inbox")
    assert code == 2 and out == "" and said in err
