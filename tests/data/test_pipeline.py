"""Batches: their contract, masks that move with their images, and what may depend on what."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lae_tf.config.sections import AugmentConfig
from lae_tf.data.augment import augment
from lae_tf.data.contract import COLUMNS
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset, image_dataset, training_dataset, with_degraded
from lae_tf.data.sampling import Composition, Sampling
from lae_tf.errors import LAEError
from lae_tf.images.files import read_mask, write_png
from lae_tf.model.preprocessing import Preprocessor

SIZE = 32
KNOWN = ("image", "label", "mask", "mask_weight")
STILL = AugmentConfig(flip=0, geometry=0, jpeg=0, blur=0, noise=0, colour=0, degrade=0)
FLIPS = STILL.model_copy(update={"flip": 0.5})
EVERYTHING = AugmentConfig(
    flip=0.5, geometry=1, jpeg=1, blur=1, noise=1, colour=1, degrade=1, rotation=40, translation=0.2
)
MOVES = AugmentConfig(
    flip=0.5, geometry=0.8, jpeg=0, blur=0, noise=0, colour=0, degrade=0, rotation=40, translation=0.2, crop=0.3
)


@pytest.fixture(scope="module")
def train_part(tiny_manifest):
    return Manifest.read(tiny_manifest).select(split="train")


def batches(manifest, epochs=range(1), seed=0, augmentation=STILL, composition=None, **options):
    sampling = Sampling(8, seed, epochs, composition)
    dataset, steps = training_dataset(manifest, Preprocessor(SIZE), sampling, augmentation, **options)
    found = list(dataset.as_numpy_iterator())
    assert len(found) == steps * len(epochs)
    return found


def assert_equal(one, other):
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)


# --- contract ---------------------------------------------------------------------------------------------


def test_keys_shapes_and_types(train_part):
    held_out = evaluation_dataset(train_part, Preprocessor(SIZE), 8).as_numpy_iterator()
    expected = {
        "image": ((8, SIZE, SIZE, 3), np.float32),
        "label": ((8, 1), np.float32),
        "mask": ((8, SIZE, SIZE, 1), np.float32),
        "mask_weight": ((8, 1), np.float32),
    }
    trained = batches(train_part, augmentation=EVERYTHING)
    in_training = {**expected, "degraded": expected["image"], "stored": expected["label"]}
    for batch, keys in [*((batch, in_training) for batch in trained), *((batch, expected) for batch in held_out)]:
        assert {key: (tuple(value.shape), value.dtype) for key, value in batch.items()} == keys
        assert batch["image"].min() >= 0 and batch["image"].max() <= 1
        assert set(np.unique(batch["mask"])) <= {0.0, 1.0}


def test_three_states_of_a_mask(train_part):
    (batch,) = evaluation_dataset(train_part, Preprocessor(SIZE), len(train_part))
    weight, fake = batch["mask_weight"].numpy()[:, 0], batch["label"].numpy()[:, 0]
    forged = batch["mask"].numpy().sum(axis=(1, 2, 3))
    state = train_part.mask_state
    assert {"real", "annotated", "unlabelled"} == set(state)
    np.testing.assert_array_equal(weight, state != "unlabelled")
    np.testing.assert_array_equal(fake, state != "real")
    np.testing.assert_array_equal(forged > 0, state == "annotated")


def test_stage_one_knows_the_masks_of_real_images_only(train_part):
    for batch in batches(train_part, use_masks=False):
        np.testing.assert_array_equal(batch["mask_weight"], 1 - batch["label"])


def test_an_epoch_visits_every_image_once(train_part):
    whole = len(train_part) // 8 * 8
    (every,) = evaluation_dataset(train_part, Preprocessor(SIZE), len(train_part))
    known = {image.tobytes() for image in every["image"].numpy()}
    assert len(known) == len(train_part) == whole
    visited = {image.tobytes() for batch in batches(train_part) for image in batch["image"]}
    assert visited == known


def test_evaluation_keeps_the_order_and_the_last_small_batch(train_part):
    preprocessor = Preprocessor(SIZE)
    found = [batch["image"].numpy() for batch in evaluation_dataset(train_part, preprocessor, 5)]
    assert [len(images) for images in found] == [5] * (len(train_part) // 5) + [len(train_part) % 5]
    paths = list(train_part.frame["path"])
    alone = np.concatenate([images.numpy() for images in image_dataset(paths, preprocessor, 7)])
    np.testing.assert_array_equal(np.concatenate(found), alone)


def test_forgeries_of_validation_do_not_depend_on_the_fakes_beside_the_real_images(tiny_manifest):
    validation = Manifest.read(tiny_manifest).select(split="val")
    reals = validation.select(label="real")
    mixed = Manifest(validation.frame.sort_values("label").reset_index(drop=True), validation.root)
    assert mixed.is_fake[0]  # fakes come first here
    forged = [
        list(evaluation_dataset(part, Preprocessor(SIZE), 1, forge_seed=3))[len(part) :] for part in (reals, mixed)
    ]
    assert len(forged[0]) == len(forged[1]) == len(reals)
    for alone, beside in zip(*forged, strict=True):
        for name, values in alone.items():
            np.testing.assert_array_equal(values, beside[name])


def test_fewer_images_than_a_batch_are_refused(train_part):
    few = train_part.take(range(7))
    with pytest.raises(LAEError, match="7 training images are fewer than one batch of 8"):
        training_dataset(few, Preprocessor(SIZE), Sampling(8, 0, range(1)), STILL)


# --- determinism ------------------------------------------------------------------------------------------


def test_the_seed_fixes_order_and_augmentation(train_part):
    one = batches(train_part, seed=4, augmentation=EVERYTHING)
    assert_equal(one, batches(train_part, seed=4, augmentation=EVERYTHING))
    other = batches(train_part, seed=5, augmentation=EVERYTHING)
    assert (one[0]["image"] != other[0]["image"]).any()


def test_another_epoch_has_another_order_and_other_draws(train_part):
    found = batches(train_part, epochs=range(2))
    first, second = found[: len(found) // 2], found[len(found) // 2 :]
    assert [b["image"].tobytes() for b in first] != [b["image"].tobytes() for b in second]
    alone = train_part.take(range(8))
    drawn = batches(alone, epochs=range(2), augmentation=AugmentConfig(noise=1))
    assert not {i.tobytes() for i in drawn[0]["image"]} & {i.tobytes() for i in drawn[1]["image"]}


@pytest.mark.parametrize("composition", [None, Composition(annotated=2, unlabelled=2, real=2, forged=2)])
def test_a_resumed_run_sees_the_batches_that_it_would_have_seen(train_part, composition):
    options = {"augmentation": EVERYTHING, "composition": composition}
    whole, tail = batches(train_part, range(3), **options), batches(train_part, range(1, 3), **options)
    assert_equal(whole[len(whole) // 3 :], tail)


# --- composition ------------------------------------------------------------------------------------------


def test_every_batch_of_stage_two_holds_the_composition(train_part):
    for batch in batches(train_part, range(2), composition=Composition(annotated=2, real=3, unlabelled=3)):
        fake, known = batch["label"][:, 0] == 1, batch["mask_weight"][:, 0] == 1
        assert ((fake & known).sum(), (~fake).sum(), (fake & ~known).sum()) == (2, 3, 3)


def test_forged_examples_are_fakes_whose_mask_is_known_and_right(train_part):
    """The forged come last in the batch; outside its mask each equals a real image of the training split."""
    (every,) = evaluation_dataset(train_part, Preprocessor(SIZE), len(train_part))
    reals = every["image"].numpy()[train_part.mask_state == "real"]
    composition = Composition(annotated=2, real=3, forged=3)
    for batch in batches(train_part, range(2), composition=composition):
        for image, label, mask, weight in list(zip(*(batch[key] for key in KNOWN), strict=True))[-3:]:
            assert (label, weight) == (1, 1)
            assert 0 < mask.mean() < 0.6
            sources = [np.abs(image - real)[mask[..., 0] == 0].max() for real in reals]
            assert min(sources) == 0
            source = reals[int(np.argmin(sources))]
            assert np.abs(image - source).mean() > 0
        assert {tuple(w) for w in batch["mask_weight"]} == {(1.0,)}


def test_a_forgery_stands_beside_its_source_and_is_moved_with_it(train_part):
    """Three forgeries of two real images: of the first, the second, and the first again, mirrored as these are."""
    (every,) = evaluation_dataset(train_part, Preprocessor(SIZE), len(train_part))
    upright = {image.tobytes() for image in every["image"].numpy()}
    mirrored = set()
    composition = Composition(annotated=3, real=2, forged=3)
    for batch in batches(train_part, range(4), augmentation=FLIPS, composition=composition):
        mirrored |= {image.tobytes() not in upright for image in batch["image"][3:5]}
        for image, mask, source in zip(batch["image"][5:], batch["mask"][5:], (3, 4, 3), strict=True):
            untouched = mask[..., 0] == 0
            np.testing.assert_array_equal(image[untouched], batch["image"][source][untouched])
            assert (image != batch["image"][source]).any()
        assert (batch["mask"][5] != batch["mask"][7]).any()
    assert mirrored == {True, False}


def test_forgeries_without_a_real_image_are_refused():
    with pytest.raises(ValueError, match="real images"):
        Composition(fake=4, forged=4)


def test_forged_examples_differ_between_epochs(train_part):
    composition = Composition(annotated=2, real=2, forged=4)
    found = batches(train_part, range(2), composition=composition)
    forged = [image.tobytes() for batch in found for image in batch["image"][-4:]]
    assert len(set(forged)) == len(forged)


def test_annotated_fakes_take_turns(train_part):
    """Eight annotated fakes, three in each of four batches: twelve visits, one or two for everyone."""
    found = batches(train_part, composition=Composition(annotated=3, real=3, unlabelled=2))
    annotated = [
        image.tobytes()
        for batch in found
        for image, fake, known in zip(batch["image"], batch["label"], batch["mask_weight"], strict=True)
        if fake and known
    ]
    visits = [annotated.count(image) for image in set(annotated)]
    assert len(visits) == 8 and set(visits) == {1, 2}


def test_a_composition_of_what_is_not_there_is_refused(train_part):
    known = Manifest(train_part.frame[train_part.mask_state != "unlabelled"].reset_index(drop=True), train_part.root)
    with pytest.raises(LAEError, match="unlabelled"):
        sampling = Sampling(8, 0, range(1), Composition(annotated=2, real=3, unlabelled=3))
        training_dataset(known, Preprocessor(SIZE), sampling, STILL)


@given(st.integers(2, 64), st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0, 0.49), st.booleans())
def test_a_composition_fills_the_batch_and_lacks_nothing(batch_size, annotated, real, forged, has_unlabelled):
    made = Composition.align(batch_size, annotated, min(real, 1 - annotated), forged, has_unlabelled)
    assert made.annotated + made.real + made.unlabelled + made.forged == batch_size
    assert made.annotated >= 1 and made.real >= 1 and made.unlabelled >= 0 and made.forged >= 0
    if not has_unlabelled:
        assert made.unlabelled == 0


def test_composition_by_hand():
    assert Composition.align(32, 0.25, 0.5, 0, True) == Composition(annotated=8, real=16, unlabelled=8)
    assert Composition.align(32, 0.25, 0.5, 0, False) == Composition(annotated=16, real=16)
    assert Composition.align(32, 0.01, 0.5, 0, True) == Composition(annotated=1, real=16, unlabelled=15)
    assert Composition.align(32, 0.25, 0.5, 0.125, True) == Composition(annotated=8, real=16, unlabelled=4, forged=4)
    assert Composition.align(32, 0.25, 0.5, 0.4, True) == Composition(annotated=8, real=16, forged=8)
    assert Composition.pretrain(32, 0.25) == Composition(fake=8, real=16, forged=8)


# --- augmentation moves image and mask together -------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31 - 1), st.integers(6, 18), st.integers(6, 18), st.integers(5, 9))
def test_a_patch_moves_with_its_mask(seed, top, left, side):
    mask = np.zeros((SIZE, SIZE, 1), np.float32)
    mask[top : top + side, left : left + side] = 1.0
    image = np.repeat(mask, 3, axis=-1)
    moved, moved_mask, _ = augment(tf.constant(image), tf.constant(mask), tf.constant([seed, 1], tf.int64), MOVES)
    moved, moved_mask = moved.numpy()[..., 0], moved_mask.numpy()[..., 0]
    assert set(np.unique(moved_mask)) <= {0.0, 1.0}
    # A pixel inside after nearest neighbour holds at least a quarter of the patch after bilinear, one outside at
    # most three quarters; a shift of the one against the other by a pixel would leave none and all.
    assert np.abs(moved - moved_mask).max() <= 0.7501


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31 - 1))
def test_augmentation_is_a_function_of_its_seed(seed):
    image = tf.random.stateless_uniform((SIZE, SIZE, 3), (seed, 0))
    mask = tf.cast(image[..., :1] > 0.5, tf.float32)
    first = augment(image, mask, tf.constant([seed, 7]), EVERYTHING)
    tf.random.uniform((3,))  # what else is drawn does not matter
    second = augment(image, mask, tf.constant([seed, 7]), EVERYTHING)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(np.unique(first[1])) <= {0.0, 1.0}
    assert tf.reduce_min(first[0]) >= 0 and tf.reduce_max(first[0]) <= 1


def test_appearance_leaves_the_mask_alone():
    appearance = AugmentConfig(flip=0, geometry=0, jpeg=1, blur=1, noise=1, colour=1)
    image = tf.random.stateless_uniform((SIZE, SIZE, 3), (0, 0))
    mask = tf.cast(image[..., :1] > 0.5, tf.float32)
    changed, same, _ = augment(image, mask, tf.constant([1, 2]), appearance)
    np.testing.assert_array_equal(same, mask)
    assert np.abs(changed - image).mean() > 0.01


def test_no_augmentation_changes_nothing():
    image, mask = tf.random.stateless_uniform((SIZE, SIZE, 3), (0, 0)), tf.ones((SIZE, SIZE, 1))
    for found, given_ in zip(augment(image, mask, tf.constant([1, 2]), STILL), (image, mask, True), strict=True):
        np.testing.assert_array_equal(found, given_)


# --- degradations -----------------------------------------------------------------------------------------


def test_a_training_image_is_degraded_or_stays_to_the_bit_as_it_is(train_part):
    """With 1 in 2: some images are equal to their degraded twin, and others differ from it; masks are as before."""
    half = batches(train_part, epochs=range(4), augmentation=STILL.model_copy(update={"degrade": 0.5}))
    kept = np.concatenate([(b["degraded"] == b["image"]).all(axis=(1, 2, 3)) for b in half])
    assert 0.2 < kept.mean() < 0.8
    none = batches(train_part, epochs=range(4))
    for with_twin, without in zip(half, none, strict=True):
        np.testing.assert_array_equal(without["degraded"], without["image"])
        for key in ("image", "mask", "label"):
            np.testing.assert_array_equal(with_twin[key], without[key])


def test_a_laundered_image_is_labelled_as_not_stored(train_part):
    for batch in batches(train_part, epochs=range(4), augmentation=STILL.model_copy(update={"degrade": 0.5})):
        # A scale of 1 changes nothing, and is a degradation all the same.
        changed = (batch["degraded"] != batch["image"]).any(axis=(1, 2, 3))
        assert not batch["stored"][changed].any() and (batch["stored"][:, 0] == ~changed).mean() > 0.8


@pytest.mark.parametrize(
    "augmentation, stored",
    [
        ({}, 1),
        ({"flip": 1}, 1),
        ({"colour": 1}, 1),
        ({"geometry": 1}, 0),
        ({"blur": 1}, 0),
        ({"noise": 1}, 0),
        ({"jpeg": 1}, 0),
        ({"degrade": 1}, 0),
    ],
)
def test_what_was_resampled_or_compressed_is_labelled_as_not_stored(train_part, augmentation, stored):
    for batch in batches(train_part, augmentation=STILL.model_copy(update=augmentation)):
        np.testing.assert_array_equal(batch["stored"], np.full((8, 1), stored))


def test_the_images_that_geometry_moved_are_labelled_one_by_one(train_part):
    moved = batches(train_part, augmentation=STILL.model_copy(update={"geometry": 0.5}))
    for batch, as_it_was in zip(moved, batches(train_part), strict=True):
        same = (batch["image"] == as_it_was["image"]).all(axis=(1, 2, 3))
        np.testing.assert_array_equal(batch["stored"][:, 0], same)
    assert 0 < sum(batch["stored"].sum() for batch in moved) < 8 * len(moved)


def test_a_forgery_and_its_source_go_the_same_way(train_part):
    """Far from the forged region the two are equal, and stay so where every step is local."""
    reals = train_part.select(label="real")
    composition = Composition(real=4, forged=4)
    augmentation = STILL.model_copy(update={"degrade": 0.5})
    equal = []
    for batch in batches(reals, epochs=range(6), augmentation=augmentation, composition=composition):
        changed = (batch["degraded"] != batch["image"]).any(axis=(1, 2, 3))
        np.testing.assert_array_equal(changed[:4], changed[4:])
        equal += [not mask.any() for mask in batch["mask"][:4]]
    assert all(equal)


def test_validation_is_followed_by_degraded_copies(train_part):
    plain = list(evaluation_dataset(train_part, Preprocessor(SIZE), 8).as_numpy_iterator())
    datasets = [evaluation_dataset(train_part, Preprocessor(SIZE), size) for size in (8, 5)]
    both = [list(with_degraded(dataset, dataset, seed=3).as_numpy_iterator()) for dataset in datasets]
    assert_equal(both[0][: len(plain)], plain)
    copies = both[0][len(plain) :]
    assert len(copies) == len(plain)
    for copy, batch in zip(copies, plain, strict=True):
        np.testing.assert_array_equal(copy["label"], batch["label"])
        np.testing.assert_array_equal(copy["mask"], batch["mask"])
        assert (copy["image"] != batch["image"]).any(axis=(1, 2, 3)).mean() > 0.8  # a scale of 1 changes nothing
    # What befalls an image does not depend on the batches.
    whole = [np.concatenate([batch["image"] for batch in dataset]) for dataset in both]
    np.testing.assert_array_equal(whole[0], whole[1])


def test_images_are_degraded_at_their_own_size_by_their_place(tmp_path):
    """Images of 5 x 9 and more: each is seen before it is resized, with its number in the manifest."""
    sizes = [(5, 9), (SIZE, SIZE), (70, 40), (8, 8)]
    rows = []
    for number, size in enumerate(sizes):
        write_png(tmp_path / f"{number}.png", np.full((*size, 3), 10 * number, np.uint8))
        rows.append((f"{number}.png", "real", "", f"g{number}", "", "test"))
    manifest = Manifest.from_frame(pd.DataFrame(rows, columns=list(COLUMNS)), tmp_path)
    seen = {}

    def degrade(image, place):
        seen[int(place)] = (image.shape[:2], image.dtype, int(image[0, 0, 0]))
        return image + np.uint8(5)

    for share, places in (((0, 1), [0, 1, 2, 3]), ((1, 2), [1, 3])):
        seen.clear()
        dataset = evaluation_dataset(manifest, Preprocessor(SIZE), 4, share=share, degrade=degrade)
        images = np.concatenate([batch["image"] for batch in dataset.as_numpy_iterator()])
        assert seen == {place: (sizes[place], np.uint8, 10 * place) for place in places}
        levels = np.array([10 * place + 5 for place in places]) / 255
        np.testing.assert_allclose(images, np.broadcast_to(levels[:, None, None, None], images.shape), atol=1e-6)


# --- mask files -------------------------------------------------------------------------------------------


def loaded_mask(folder, image_size=SIZE):
    frame = pd.DataFrame([("i.png", "fake", "m.png", "g", "x", "train")], columns=list(COLUMNS))
    (batch,) = evaluation_dataset(Manifest.from_frame(frame, folder), Preprocessor(image_size), 1)
    return batch["mask"].numpy()[0, ..., 0]


def with_mask(folder, array_or_image):
    write_png(folder / "i.png", np.zeros((SIZE, SIZE, 3), np.uint8))
    if isinstance(array_or_image, np.ndarray):
        array_or_image = Image.fromarray(array_or_image)
    array_or_image.save(folder / "m.png")
    return folder


SHAPE = np.zeros((SIZE, SIZE), np.uint8)
SHAPE[4:9, 10:20] = 1


def palette(mask):
    """As annotation tools write it: index 1 is dark red."""
    image = Image.fromarray(mask).convert("P")
    image.putdata(list(mask.ravel()))
    image.putpalette([0, 0, 0, 128, 0, 0])
    return image


@pytest.mark.parametrize(
    "mask",
    [
        SHAPE,
        SHAPE * 255,
        np.stack([SHAPE * 255] * 3, axis=-1),
        np.stack([SHAPE * 0, SHAPE * 0, SHAPE * 255], axis=-1),
        SHAPE.astype(np.uint16) * 65535,
        SHAPE.astype(np.uint16),
        palette(SHAPE),
        Image.fromarray(SHAPE * 255).convert("1"),
    ],
    ids=["0/1", "0/255", "rgb", "blue", "16 bit", "16 bit 0/1", "palette", "1 bit"],
)
def test_masks_of_any_kind_are_read_as_they_were_drawn(tmp_path, mask):
    found = loaded_mask(with_mask(tmp_path, mask))
    np.testing.assert_array_equal(found, SHAPE)
    np.testing.assert_array_equal(found, read_mask(tmp_path / "m.png"))


def test_masks_are_resized_with_nearest_neighbour(tmp_path):
    large = np.zeros((2 * SIZE, 2 * SIZE), np.uint8)
    large[21, 41] = 255  # the one pixel of its 2 x 2 cell that nearest neighbour looks at
    large[10, 10] = 255  # a pixel that it skips
    found = loaded_mask(with_mask(tmp_path, large))
    assert found.sum() == 1 and found[10, 20] == 1


def test_a_small_mask_grows_in_blocks(tmp_path):
    small = np.random.default_rng(0).integers(0, 2, (SIZE // 4, SIZE // 4), dtype=np.uint8)
    found = loaded_mask(with_mask(tmp_path, small * 255))
    np.testing.assert_array_equal(found, np.kron(small, np.ones((4, 4))))


def test_a_mask_of_which_resizing_leaves_nothing_is_not_known(tmp_path):
    """It would teach that nothing of the fake is forged."""
    rows = []
    for name, side in (("small", 2), ("large", 40)):
        write_png(tmp_path / f"{name}.png", np.full((80, 80, 3), 90, np.uint8))
        mask = np.zeros((80, 80), np.uint8)
        mask[3 : 3 + side, 3 : 3 + side] = 255
        write_png(tmp_path / f"{name}-mask.png", mask)
        rows.append((f"{name}.png", "fake", f"{name}-mask.png", name, "m", "val"))
    manifest = Manifest.from_frame(pd.DataFrame(rows, columns=list(COLUMNS)), tmp_path)
    (batch,) = evaluation_dataset(manifest, Preprocessor(16), 2)
    assert batch["mask"].numpy().max(axis=(1, 2, 3)).tolist() == [0, 1]
    assert batch["mask_weight"].numpy()[:, 0].tolist() == [0, 1]


def test_a_mask_of_another_shape_lies_where_its_image_does(tmp_path):
    """A square mask of a wide image: its right half is the image's right half, between the mirrors."""
    write_png(tmp_path / "a.png", np.full((20, 80, 3), 90, np.uint8))
    mask = np.zeros((32, 32), np.uint8)
    mask[:, 16:] = 255
    write_png(tmp_path / "a-mask.png", mask)
    row = ("a.png", "fake", "a-mask.png", "a", "m", "val")
    manifest = Manifest.from_frame(pd.DataFrame([row], columns=list(COLUMNS)), tmp_path)
    (batch,) = evaluation_dataset(manifest, Preprocessor(16), 1)
    found = batch["mask"].numpy()[0, ..., 0]
    assert (found[:, 8:] == 1).all() and (found[:, :8] == 0).all()
