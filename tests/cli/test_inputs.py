"""Arguments in the wrong order or of the wrong kind: what was found is said, what was expected, and what to type."""

import re
import shlex

import click
import pytest

from lae_tf.cli.inputs import RealImagesPath, require_images
from lae_tf.cli.main import VERBS, cli
from lae_tf.cli.recognition import recognise
from lae_tf.presets import finding

FILES = (
    "run/config.yaml",
    "run/model.keras",
    "begun/config.yaml",
    "started/run/config.yaml",
    "started/run/environment.json",
    "started/config.yaml",
    "exports/lae/1/saved_model.pb",
    "photos/a.jpg",
    "photos/deep/b.PNG",
    "sorted/real/a.png",
    "sorted/fake/a.png",
    "methods/Real/a.png",
    "methods/splice/a.png",
    "clips/a.mp4",
    "films/real/a.mp4",
    "films/fake/b.mp4",
    "data/manifest.csv",
    "data/real/a.png",
    "notes/a.txt",
    "preset/config.json",
    "preset/model.safetensors",
    "m.csv",
    "m.parquet",
    "photos.zip",
)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Empty files that have the names: what holds what is told by names."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "settings.yaml").write_text("seed: 3\ndata:\n  manifest: m.csv\n")
    (tmp_path / "swap.yml").write_text("title: t\ntrain_methods: [a]\n")
    (tmp_path / "other.yaml").write_text("a: 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finding, "DEFAULT", "none is installed")
    return tmp_path


@pytest.mark.parametrize(
    "path, kind, inside",
    [
        ("run", "run", ""),
        ("begun", "run", ""),
        ("started", "runs", "started/run"),
        ("run/model.keras", "model", "run"),
        ("run/config.yaml", "yaml", "run"),
        ("preset", "preset", ""),
        ("exports", "exports", "exports/lae"),
        ("exports/lae", "export", ""),
        ("exports/lae/1", "export", ""),
        ("photos", "images", ""),
        ("photos/a.jpg", "image", ""),
        ("sorted", "sorted images", ""),
        ("methods", "sorted images", ""),
        ("sorted/real", "images", ""),
        ("clips", "videos", ""),
        ("clips/a.mp4", "video", ""),
        ("films", "sorted videos", ""),
        ("data", "data", "data/manifest.csv"),
        ("notes", "folder", ""),
        ("notes/a.txt", "file", ""),
        ("m.csv", "table", ""),
        ("m.parquet", "table", ""),
        ("settings.yaml", "config", ""),
        ("swap.yml", "protocol", ""),
        ("other.yaml", "yaml", ""),
        ("photos.zip", "archive", ""),
    ],
)
def test_what_a_path_holds(path, kind, inside):
    found = recognise(path)
    assert (found.kind, found.inside) == (kind, inside)


WRONG = [
    # no run where a run belongs, and no preset in its place
    ("predict photos", "photos: no RUN comes before it", "order is lae-tf predict [RUN] PATHS"),
    ("predict photos", "this installation has no ready model", "a preset is named with --model"),
    ("predict photos", "`lae-tf train photos --output runs/first`", "sort them into real/ and fake/ first"),
    ("predict sorted", "no ready model", "`lae-tf train sorted --output runs/first`"),
    ("predict methods", "`lae-tf manifest pairs methods -o manifest.csv`", "`lae-tf train manifest.csv"),
    ("predict clips", "no ready model", "`lae-tf frames clips frames --layout folders`"),
    ("predict films", "`lae-tf frames films frames --layout folders`", "`lae-tf train frames/manifest.csv"),
    ("predict none/*.jpg", "no ready model", "`lae-tf train photos/ --output runs/first`"),
    ("predict photos run", "photos: no RUN comes before it", "order is lae-tf predict [RUN] PATHS"),
    ("predict photos/a.jpg run", "no RUN comes before it", "order is lae-tf predict [RUN] PATHS"),
    ("predict", "Missing argument '[RUN] PATHS...'", "For example: lae-tf predict photo.jpg"),
    ("predict --server http://localhost:1", "Missing argument '[RUN] PATHS...'", "lae-tf predict photo.jpg"),
    ("predict run", "Missing argument 'PATHS...'", "lae-tf predict run photos/"),
    ("predict runs/frist photos", "'runs/frist' does not exist", ""),
    ("predict preset photos", "no run here: it is a preset", "`lae-tf predict --model preset photos/`"),
    ("predict --model nowhere photos", "nowhere: no such preset", "a folder, or hf://user/name"),
    ("predict --model preset run photos", "--model stands in place of RUN", "leave run out"),
    ("predict run photos run", "it is a run", "A run stands before the images."),
    ("predict --model preset --server http://localhost:1 photos", "--server and --model", "give one of them"),
    ("train photos --from photos", "photos: no run here", "it is a folder of images"),
    ("export run preset --format preset --int8", "--int8 do not go with --format preset", ""),
    ("predict started photos", "it is a folder that holds a run", "Give started/run."),
    ("predict run/model.keras photos", "it is a model's file", "Give run."),
    ("predict run/config.yaml photos", "no run here", "Give run."),
    ("predict exports photos", "`lae-tf serve exports`", "`lae-tf predict --server http://localhost:8501 photos/`"),
    ("evaluate m.csv run", "m.csv: no run here: it is a CSV table", "order is lae-tf evaluate RUN MANIFESTS"),
    ("explain photos run -o out", "no RUN comes before it", "order is lae-tf explain [RUN] PATHS"),
    ("select m.csv", "it is a CSV table", "`lae-tf train m.csv --output runs/first`"),
    ("annotate settings.yaml", "it is a configuration", "`lae-tf train settings.yaml --output runs/first`"),
    ("export photos out", "no run here", "`lae-tf train photos --output runs/first`"),
    ("export-tasks data out", "holds manifest.csv", "`lae-tf train data/manifest.csv --output runs/first`"),
    ("import-masks exports", "no run here", "`lae-tf serve exports`"),
    ("score m.parquet run out.parquet", "neither a run nor an export", "order is lae-tf score RUN_OR_EXPORT POOL OUT"),
    ("score exports m.parquet out.parquet", "it is a folder that holds an export", "Give exports/lae."),
    # no images where images belong
    ("predict run m.csv", "expected images or videos", "`lae-tf evaluate RUN m.csv`"),
    ("predict run started", "it is a folder that holds a run", "expected images or videos"),
    ("predict run photos.zip", "it is an archive", "Unpack it first."),
    ("predict run photos started", "it is a folder that holds a run", "expected images or videos"),
    ("predict --server http://localhost:1 run photos", "--server stands in place of RUN", "leave run out"),
    ("explain run exports -o out", "it is a folder that holds an export", "expected images or videos"),
    ("forge sorted out", "expected a folder of real images", "as in sorted/real"),
    ("forge data out", "it is a folder that holds manifest.csv", "as in data/real"),
    ("forge clips out", "it is a folder of videos", "`lae-tf frames clips frames`"),
    # no configuration, manifest, protocol
    ("train clips", "it is a folder of videos", "`lae-tf frames clips frames --layout folders`"),
    ("train notes", "notes: holds no image", "(.jpg"),
    ("train methods", "holds Real/ and splice/", "move fakes to fake/METHOD/"),
    ("train photos --set data.manifest=m.csv", "data.manifest", "of the folder photos"),
    ("train films", "a folder of videos, sorted", "`lae-tf frames films frames --layout folders`"),
    ("train data", "holds manifest.csv", "`lae-tf train data/manifest.csv --output runs/first`"),
    ("train run", "it is a run", "`lae-tf train run/config.yaml --output run --resume`"),
    ("train started", "it is a folder that holds a run", "the configuration started/config.yaml"),
    ("train swap.yml", "it is a protocol", "`lae-tf benchmark swap.yml`"),
    ("loop photos --oracle", "it is a folder of images", "expected a configuration (.yaml) or a manifest"),
    ("config run", "it is a run", "Its configuration is run/config.yaml"),
    ("evaluate run sorted", "expected a manifest", "`lae-tf manifest folders sorted -o manifest.csv`"),
    ("evaluate run data", "expected a manifest", "Give data/manifest.csv."),
    ("evaluate run settings.yaml", "it is a configuration", "the manifest that it names as data.manifest"),
    ("check-data methods", "expected a manifest", "`lae-tf manifest pairs methods -o manifest.csv`"),
    ("masks diff photos", "it is a folder of images", "expected a manifest"),
    ("benchmark m.csv", "it is a CSV table", "expected a protocol"),
    ("benchmark settings.yaml", "it is a configuration", "expected a protocol"),
    ("manifest sorted folders", "unknown layout 'sorted'", "order is lae-tf manifest KIND ROOT"),
    ("manifest foldrs sorted", "unknown layout 'foldrs'", "folders"),
    # no pool, no export
    ("score run m.csv out.parquet", "m.csv: is CSV", "-o NAME.parquet"),
    ("score run photos out.parquet", "it is a folder of images", "`lae-tf predict RUN photos`"),
    ("serve run", "it is a run", "`lae-tf export run exports`"),
    ("serve started", "it is a folder that holds a run", "`lae-tf export started/run exports`"),
    ("serve run/model.keras", "it is a model's file", "`lae-tf export run exports`"),
]


@pytest.mark.parametrize("words, found, remedy", WRONG)
def test_what_was_found_and_what_to_type(lae_tf_command, words, found, remedy):
    code, out, err = lae_tf_command(*words.split())
    *_, sentence = err.splitlines()
    assert code == 2 and out == "" and sentence.startswith("Error: ")
    assert found in sentence and remedy in sentence
    for command in re.findall(r"`(lae-tf [^`]+)`", sentence):
        verb, *arguments = shlex.split(command)[1:]
        assert verb in VERBS
        parsed = cli.get_command(click.Context(cli), verb)
        parsed.make_parser(click.Context(parsed)).parse_args(arguments)  # knows every option


@pytest.mark.parametrize("words", ["m.csv photos/a.jpg", "photos.zip photos/a.jpg", "none/*.jpg m.csv"])
def test_a_file_among_several_is_for_the_verb_to_skip(words):
    require_images(tuple(words.split()), click.Context(cli.get_command(click.Context(cli), "explain")))


def test_a_configuration_may_have_any_name(lae_tf_command, place):
    for name in ("config", "config.json", "config.txt"):
        (place / name).write_text('{"data": {"manifest": "m.csv"}, "bogus": 1}')
        code, _, err = lae_tf_command("train", name)
        assert code == 2 and f"{name}: 1 problem" in err


def test_real_images_may_lie_beside_their_manifest(place):
    (place / "data" / "real").rename(place / "data" / "originals")
    assert RealImagesPath(exists=True).convert("data", None, None) == "data"


@pytest.mark.parametrize("name", ["my photos", "o'clock", "$HOME", "a;b", "`x`"])
def test_what_to_type_is_quoted_for_the_shell(lae_tf_command, place, name):
    (place / "photos").rename(place / name)
    code, _, err = lae_tf_command("export", name, "out")
    assert code == 2
    assert shlex.split(err[err.index("`lae-tf train") + 1 :])[:3] == ["lae-tf", "train", name]
