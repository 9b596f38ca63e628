"""Arrays, pairs and dicts as a Keras user gives them: what they mean, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lae_tf.model.batches import to_batch
from lae_tf.model.lae import LAE

SIZE = 16


@pytest.fixture(scope="module")
def model():
    return compiled()


def compiled():
    keras.utils.set_random_seed(0)
    model = LAE(image_size=SIZE, widths=(4, 8), blocks=0, trunk="none", high_pass=False, self_correlation=False)
    model.compile(keras.optimizers.Adam(1e-2), loss_weights={"alignment": 1.0})
    return model


def arrays(count=8, seed=0):
    """Noise, labels 0 1 0 1 ..., and masks that mark a bright patch of every fake."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.2, 0.6, (count, SIZE, SIZE, 3)).astype(np.float32)
    labels = np.arange(count) % 2
    masks = np.zeros((count, SIZE, SIZE, 1), np.float32)
    masks[1::2, 4:10, 4:10] = 1.0
    return images + 0.3 * masks, labels, masks


def evaluated(model, *data, **options):
    return model.evaluate(*data, verbose=0, return_dict=True, **{"batch_size": 4, **options})


def pipeline_batches(masks_known=True):
    """The same images as ``lae_tf.data.pipeline`` would give them."""
    images, labels, masks = arrays()
    label = labels.astype(np.float32)[:, None]
    weight = np.ones_like(label) if masks_known else 1 - label
    batch = {"image": images, "label": label, "mask": masks * weight[..., None, None], "mask_weight": weight}
    return tf.data.Dataset.from_tensor_slices(batch).batch(4)


# --- what the forms mean ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int64, bool, np.float64, np.uint8])
@pytest.mark.parametrize("column", [False, True])
def test_labels_alone_are_fakes_of_unknown_masks(model, kind, column):
    images, labels, _ = arrays()
    labels = labels.astype(kind)
    found = evaluated(model, images, labels[:, None] if column else labels)
    expected = model.evaluate(pipeline_batches(masks_known=False), verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert found != pytest.approx(model.evaluate(pipeline_batches(), verbose=0, return_dict=True), rel=1e-5)


def test_masks_come_as_a_pair_or_a_dict_with_or_without_a_last_axis(model):
    images, labels, masks = arrays()
    expected = model.evaluate(pipeline_batches(), verbose=0, return_dict=True)
    assert expected["attention_iou"] > 0 or expected["alignment_loss"] > 0
    for y in (
        (labels, masks),
        (labels[:, None], masks[..., 0].astype(bool)),
        {"label": labels, "mask": masks.astype(np.uint8)},
    ):
        assert evaluated(model, images, y) == pytest.approx(expected, rel=1e-5)
        pairs = tf.data.Dataset.from_tensor_slices((images, y)).batch(4)
        assert evaluated(model, pairs, batch_size=None) == pytest.approx(expected, rel=1e-5)
    assert evaluated(model, {"image": images, "label": labels, "mask": masks}) == pytest.approx(expected, rel=1e-5)


def test_a_fake_with_an_empty_mask_counts_as_one_of_unknown_mask():
    images, labels, masks = arrays(4)
    masks[1] = 0
    batch = to_batch((images, (labels, masks)), SIZE)
    np.testing.assert_array_equal(batch["mask_weight"], [[1], [0], [1], [1]])
    given = to_batch((images, {"label": labels, "mask": masks, "mask_weight": [1.0, 1.0, 1.0, 0.0]}), SIZE)
    np.testing.assert_array_equal(given["mask_weight"], [[1], [1], [1], [0]])


def test_bytes_are_the_images_that_they_stand_for(model):
    images, labels, _ = arrays()
    pixels = np.round(255 * images).astype(np.uint8)
    scaled = pixels.astype(np.float32) / 255
    np.testing.assert_allclose(
        model.predict(pixels, verbose=0)["logit"], model.predict(scaled, verbose=0)["logit"], rtol=1e-5, atol=1e-6
    )
    assert evaluated(model, pixels, labels) == pytest.approx(evaluated(model, scaled, labels), rel=1e-5)


def test_a_keras_users_loop_with_callbacks_learns_stops_and_saves(tmp_path):
    model = compiled()
    images, labels, masks = arrays(48)
    validation = arrays(16, seed=1)
    callbacks = [
        keras.callbacks.EarlyStopping("val_auroc", mode="max", patience=3, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), "val_auroc", mode="max", save_best_only=True),
    ]
    history = model.fit(
        images,
        (labels, masks),
        batch_size=8,
        epochs=60,
        validation_data=(validation[0], validation[1]),
        verbose=0,
        callbacks=callbacks,
    ).history
    assert len(history["loss"]) < 60
    assert max(history["val_auroc"]) > 0.9
    best = keras.saving.load_model(str(tmp_path / "best.keras"))
    np.testing.assert_allclose(
        best.predict(validation[0], verbose=0)["logit"], model.predict(validation[0], verbose=0)["logit"], rtol=1e-4
    )


# --- what is refused --------------------------------------------------------------------------------------


def changed(**parts):
    images, labels, masks = arrays(4)
    given = {"image": images, "label": labels, "mask": masks, **parts}
    return given["image"], (given["label"], given["mask"])


@pytest.mark.parametrize(
    "data, message",
    [
        (changed(image=255 * arrays(4)[0]), r"images hold values outside \[0, 1\]"),
        (changed(image=np.full((4, SIZE, SIZE, 3), np.nan, np.float32)), r"images hold values outside \[0, 1\]"),
        (changed(label=np.array([0, 1, 2, 1])), "labels hold values other than 0"),
        (changed(mask=255 * arrays(4)[2]), "masks hold values other than 0 and 1"),
        (changed(label=np.zeros(4)), "masks mark pixels of real images"),
        (({"image": arrays(4)[0], "stored": np.full(4, 0.5)}, arrays(4)[1]), "stored holds values other than 0"),
    ],
)
def test_values_out_of_range_are_refused_as_arrays_and_in_datasets(model, data, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        model.fit(*data, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.fit(tf.data.Dataset.from_tensors(data), verbose=0)


@pytest.mark.parametrize(
    "data, message",
    [
        ((np.zeros((4, 8, 8, 3), np.float32), np.zeros(4)), r"shape \[4, 8, 8, 3\]; this model takes \[N, 16, 16, 3\]"),
        ((np.zeros((4, SIZE, SIZE), np.float32), np.zeros(4)), "this model takes"),
        ((np.zeros((4, SIZE, SIZE, 3), np.int32), np.zeros(4)), "images are int32; expected floats"),
        (changed(label=np.eye(4)[:, :2]), r"label is of shape \[4, 2\]; expected \[N\] or \[N, 1\]"),
        (changed(mask=np.zeros((4, 8, 8, 1))), r"masks are of shape \[4, 8, 8, 1\]; this model takes"),
        ((arrays(4)[0], {"labels": arrays(4)[1]}), r"unknown keys \['labels'\]"),
        ((arrays(4)[0], (arrays(4)[1],) * 3), "y has 3 parts"),
    ],
)
def test_shapes_and_kinds_are_refused(model, data, message):
    with pytest.raises(ValueError, match=message):
        model.fit(*data, verbose=0)


def test_words_as_labels_and_parts_of_unequal_length_are_refused(model):
    images, labels, masks = arrays(4)
    with pytest.raises(ValueError, match=r"label holds .*, expected numbers; labels are 1 \(fake\)"):
        model.fit(images, np.array(["real", "fake", "real", "fake"]), verbose=0)
    with pytest.raises(ValueError, match=r"are as many of each; found .*'label': 3"):
        model.fit(images, (labels[:3], masks), verbose=0)


def test_sample_weights_are_refused_with_the_likely_cause(model):
    images, labels, masks = arrays(4)
    with pytest.raises(ValueError, match=r"no sample_weight and no class_weight.*\(image, \(label, mask\)\)"):
        model.fit(tf.data.Dataset.from_tensors((images, labels, masks)), verbose=0)
    with pytest.raises(ValueError, match="no sample_weight and no class_weight"):
        model.fit(images, labels, class_weight={0: 1.0, 1: 2.0}, verbose=0)


def test_images_without_labels_train_nothing(model):
    with pytest.raises(TypeError, match="LAE trains on images and labels"):
        model.fit(arrays(4)[0], verbose=0)
