"""A small export and a small pool of test images, with bad ones among them."""

import pandas as pd
import pytest

from lae_tf.data.manifest import Manifest


@pytest.fixture(scope="package")
def export(trained_run, tmp_path_factory):
    """SavedModel of the shared run, as a folder of versions."""
    from lae_tf.export.signatures import write_saved_model

    folder = tmp_path_factory.mktemp("export") / "lae"
    folder.mkdir()
    write_saved_model(trained_run.load_model(), folder / "2")
    return folder


@pytest.fixture(scope="package")
def images(tiny_manifest):
    """Files of the test images with their groups."""
    frame = Manifest.read(tiny_manifest).select(split="test").frame
    return frame[["path", "group"]]


@pytest.fixture(scope="package")
def pool_frame(images, tmp_path_factory):
    """120 rows: test images again and again; rows 5, 50 and 51 cannot be read."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    frame = pd.concat([images] * 10, ignore_index=True).head(120).astype(object)
    frame.loc[5, "path"] = str(folder / "cut.png")
    frame.loc[50, "path"] = "nowhere.png"
    frame.loc[51, "path"] = None
    return frame


@pytest.fixture(scope="package")
def pool(pool_frame, tmp_path_factory):
    """The rows as a Parquet file of three row groups."""
    path = tmp_path_factory.mktemp("pool") / "pool.parquet"
    pool_frame.to_parquet(path, row_group_size=47)
    return path
