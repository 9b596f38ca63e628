"""Which frames a video shows: what the reader gives is held against a plain decoding from start to end, by the pixel.

Each frame bears its number in black and white blocks, so that the plain decoding is checked too.
"""

import random
from fractions import Fraction

import av
import numpy as np
import pytest

from lae_tf.errors import VideoError
from lae_tf.video import frames as video
from lae_tf.video.decoding import list_frames
from lae_tf.video.frames import Selection, read_frames

FRAMES, RATE = 40, 25
REORDERED = {"x264-params": "bframes=3:b-pyramid=normal:b-adapt=0:scenecut=0"}
OPEN = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
OPEN_HEVC = {"x265-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:log-level=none"}


def numbered(number, height=48, width=64):
    image = np.full((height, width, 3), 60 + 2 * number, np.uint8)
    for bit in range(6):
        image[:16, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
    return image


def number_in(image):
    return sum((image[4:12, 8 * bit + 2 : 8 * bit + 6].mean() > 128) << bit for bit in range(6))


def encode(path, codec="libx264", options=REORDERED, keys=10, b_frames=None, pixels="yuv420p", times=None, **stream_is):
    """Write ``FRAMES`` numbered frames, 25 a second or at ``times`` in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.options = 64, 48, pixels, dict(options)
        stream.codec_context.gop_size = keys
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in stream_is.items():
            setattr(stream.codec_context, name, value)
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, RATE) if times is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def packets(path):
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def rewrap(source, target, change=lambda packets: packets):
    """Write the changed list of packets into another file, without encoding anew."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in change([packet for packet in old.demux(video=0) if packet.size]):
            packet.stream = stream
            new.mux(packet)
    return target


def shifted(ticks):
    def change(packets):
        for packet in packets:
            packet.pts += ticks
            packet.dts += ticks
        return packets

    return change


def add_silence(container, stream):
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
    frame.sample_rate = 8000
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def plainly(path):
    """Decode from start to end, for an oracle."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def check(path, first=0, count=FRAMES):
    """Hold every way of choosing frames against the plain decoding, and that against the numbers in the pictures."""
    shown = plainly(path)
    assert [number_in(image) for image in shown] == list(range(first, first + count))
    ways = [
        {"every": 1},
        {"every": 7},
        {"count": 6},
        {"count": 2},
        {"indices": (1, 2, 9, 21)},
        {"indices": (count - 1,)},
    ]
    for way in ways:
        frames = list(read_frames(path, Selection(**way)))
        assert len(frames) == (count if way == {"every": 1} else len(frames)) > 0
        for frame in frames:
            np.testing.assert_array_equal(frame.image, shown[frame.index])
        times = [frame.time for frame in frames]
        np.testing.assert_allclose(times, [frame.index / RATE for frame in frames], atol=2e-3)


class TestFormats:
    @pytest.mark.parametrize("options", [REORDERED, OPEN], ids=["closed", "open"])
    @pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "m2ts", "avi", "flv"])
    def test_reordered_h264(self, tmp_path, suffix, options):
        check(encode(tmp_path / f"a.{suffix}", options=options))

    @pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4", "ts", "mpg"])
    def test_reordered_mpeg(self, tmp_path, suffix):
        codec = "mpeg2video" if suffix in ("ts", "mpg") else "mpeg4"
        check(encode(tmp_path / f"a.{suffix}", codec, {"qscale": "3"}, b_frames=2))

    @pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
    def test_open_hevc(self, tmp_path, suffix):
        check(encode(tmp_path / f"a.{suffix}", "libx265", OPEN_HEVC))

    def test_key_frames_side_by_side(self, tmp_path):
        check(encode(tmp_path / "a.mp4", options={"x264-params": "bframes=3"}, keys=2))
        check(encode(tmp_path / "b.mkv", options={}, keys=1))

    @pytest.mark.parametrize(
        ("codec", "pixels", "suffix"),
        [
            ("libx264", "yuv420p10le", "mkv"),
            ("libx264", "yuv444p", "mp4"),
            ("libvpx-vp9", "yuva420p", "webm"),
            ("prores_ks", "yuv422p10le", "mov"),
            ("png", "rgba", "mov"),
            ("ffv1", "gray", "mkv"),
        ],
    )
    def test_kinds_of_pixels(self, tmp_path, codec, pixels, suffix):
        options = {"auto-alt-ref": "0", "b": "500k"} if codec == "libvpx-vp9" else {}
        check(encode(tmp_path / f"a.{suffix}", codec, options, pixels=pixels))

    def test_interlaced(self, tmp_path):
        for suffix in ("mp4", "ts"):
            check(encode(tmp_path / f"a.{suffix}", options={"x264-params": "tff=1:bframes=2"}))

    def test_well_formed_files_are_not_decoded_from_the_start(self, tmp_path, monkeypatch):
        monkeypatch.setattr(video, "count_frames", None)
        for name in ("a.mp4", "b.mkv"):
            path = encode(tmp_path / name, options=OPEN)
            assert [number_in(frame.image) for frame in read_frames(path, Selection(indices=(15, 16, 39)))] == [
                15,
                16,
                39,
            ]


class TestHidden:
    def test_edit_list_hides_the_first_frames(self, tmp_path):
        whole = encode(tmp_path / "whole.mp4")
        path = rewrap(whole, tmp_path / "cut.mp4", shifted(-4 * packets(whole)[0].duration))
        assert len(packets(path)) > FRAMES - 4
        check(path, first=4, count=FRAMES - 4)

    def test_vp8_frames_for_reference_alone(self, tmp_path):
        whole = encode(tmp_path / "whole.mkv", "libvpx", {"b": "500k"})
        hidden = (5, 17, 33)

        def hide(packets):
            for number, packet in enumerate(packets):
                data = bytearray(packet)
                if number in hidden:
                    data[0] &= ~0x10  # the bit "show" (RFC 6386, 9.1)
                new = av.Packet(bytes(data))
                new.pts = new.dts = packet.pts
                new.time_base, new.is_keyframe = packet.time_base, packet.is_keyframe
                yield new

        path = rewrap(whole, tmp_path / "hidden.mkv", hide)
        shown = [number for number in range(FRAMES) if number not in hidden]
        frames = list(read_frames(path, Selection(every=1)))
        assert [number_in(frame.image) for frame in frames] == shown
        assert [frame.index for frame in frames] == list(range(len(shown)))
        assert list_frames(str(path)) is not None  # and seeks go on to be used
        wanted = (4, 5, 20, 36)
        assert [number_in(f.image) for f in read_frames(path, Selection(indices=wanted))] == [shown[i] for i in wanted]

    @pytest.mark.parametrize("suffix", ["mkv", "mp4"])
    def test_cut_within_a_group_of_pictures(self, tmp_path, suffix):
        """What was not stored behind a key frame cannot be decoded, and is not shown."""
        whole = encode(tmp_path / "whole.mp4")
        check(rewrap(whole, tmp_path / f"a.{suffix}", lambda packets: packets[3:]), first=10, count=FRAMES - 10)
        whole = encode(
            tmp_path / "open.mp4", "libx265", {"x265-params": "open-gop=1:bframes=3:keyint=10:log-level=none"}
        )
        path = rewrap(whole, tmp_path / f"b.{suffix}", lambda packets: packets[10:])
        shown = plainly(path)
        assert len(shown) < FRAMES - 10
        check(path, first=number_in(shown[0]), count=len(shown))

    def test_a_cover_picture_is_no_video(self, tmp_path):
        picture = encode(tmp_path / "cover.mkv", "mjpeg", {}, pixels="yuvj420p")
        with av.open(str(picture)) as old, av.open(str(tmp_path / "song.m4v"), "w", format="mp4") as new:
            stream = new.add_stream_from_template(old.streams.video[0])
            stream.disposition = av.stream.Disposition.attached_pic
            sound = new.add_stream("aac", rate=8000)
            packet = next(old.demux(video=0))
            packet.stream = stream
            new.mux(packet)
            add_silence(new, sound)
        with pytest.raises(VideoError, match="holds no video, only a picture"):
            list(read_frames(tmp_path / "song.m4v", Selection(every=1)))

    def test_sound_alone(self, tmp_path):
        with av.open(str(tmp_path / "song.mkv"), "w") as container:
            add_silence(container, container.add_stream("aac", rate=8000))
        with pytest.raises(VideoError, match=r"holds no video$"):
            list(read_frames(tmp_path / "song.mkv", Selection(every=1)))


class TestTimes:
    def test_a_first_frame_that_is_late(self, tmp_path):
        whole = encode(tmp_path / "whole.mp4")
        for suffix in ("mp4", "ts"):
            check(rewrap(whole, tmp_path / f"late.{suffix}", shifted(100 * packets(whole)[0].duration)))

    def test_the_clock_of_a_broadcast_begins_anew(self, tmp_path):
        """Its 33 bits run over; recordings are joined, and the second begins long before, or long after."""
        whole = encode(tmp_path / "whole.ts")
        check(rewrap(whole, tmp_path / "over.ts", shifted(2**33 - 60_000)))
        late = rewrap(whole, tmp_path / "late.ts", shifted(3600 * 90_000))
        for name, parts in {"before": (late, whole), "after": (whole, late), "same": (whole, whole)}.items():
            path = tmp_path / f"{name}.ts"
            path.write_bytes(b"".join(part.read_bytes() for part in parts))
            frames = list(read_frames(path, Selection(every=1)))
            assert [number_in(frame.image) for frame in frames] == 2 * list(range(FRAMES))
            np.testing.assert_allclose([frame.time for frame in frames], np.arange(2 * FRAMES) / RATE, atol=1e-3)
            chosen = [frame.index for frame in read_frames(path, Selection(count=4))]
            assert chosen == [9, 29, 49, 69]  # an eighth, three eighths ... of the time between the first and the last

    def test_frames_that_share_a_time(self, tmp_path):
        whole = encode(tmp_path / "whole.mkv", options={"x264-params": "bframes=0"})

        def repeat(packets):
            for number, packet in enumerate(packets):
                if number == 20:
                    packet.pts -= 40
                    packet.dts = packet.pts
                yield packet

        path = rewrap(whole, tmp_path / "a.mkv", repeat)
        frames = list(read_frames(path, Selection(every=1)))
        assert [number_in(frame.image) for frame in frames] == list(range(FRAMES))
        assert [number_in(frame.image) for frame in read_frames(path, Selection(indices=(19, 20, 33)))] == [19, 20, 33]

    @pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
    def test_frames_at_uneven_times(self, tmp_path, suffix):
        times = np.cumsum([0, *([20, 40, 30] * FRAMES)])[:FRAMES]
        times[10:] += 3000
        path = encode(tmp_path / f"a.{suffix}", times=times.tolist())
        frames = list(read_frames(path, Selection(every=1)))
        assert [number_in(frame.image) for frame in frames] == list(range(FRAMES))
        np.testing.assert_allclose([frame.time for frame in frames], times / 1000, atol=2e-3)


class TestHostile:
    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
    def test_changed_bytes_give_frames_or_one_sentence(self, tmp_path, name):
        sound = encode(tmp_path / name).read_bytes()
        source = random.Random(name)
        path = tmp_path / f"hostile{name[1:]}"
        refused = 0
        for trial in range(60):
            data = bytearray(sound)
            for _ in range(source.choice([1, 5, 50])):
                data[source.randrange(len(data) if trial % 2 else 1500)] = source.randrange(256)
            path.write_bytes(data if trial % 5 else data[: source.randrange(len(data))])
            try:
                for frame in read_frames(path, Selection(count=5)):
                    assert frame.image.dtype == np.uint8 and frame.image.ndim == 3
            except VideoError as error:
                refused += 1
                assert str(path) in str(error) and "can't decode" not in str(error) and "index" not in str(error)
        assert refused

    @pytest.mark.parametrize("tag", [b"Lavf", b"VideoHandler"])
    def test_tags_need_not_be_unicode(self, tmp_path, tag):
        path = encode(tmp_path / "a.mp4")
        data = path.read_bytes()
        path.write_bytes(data.replace(tag, b"\xe9" + tag[1:]))  # é in Latin-1
        assert path.read_bytes() != data
        assert [number_in(frame.image) for frame in read_frames(path, Selection(every=1))] == list(range(FRAMES))

    def test_an_unknown_codec_is_named_as_such(self, tmp_path):
        path = encode(tmp_path / "a.mkv")
        path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/AVC"))
        with pytest.raises(VideoError, match="codec that is not known"):
            list(read_frames(path, Selection(every=1)))


class TestShape:
    @pytest.mark.parametrize(
        ("matrix", "expected"),
        [
            # a, b, c, d: x' = a x + c y, y' = b x + d y, y downwards
            ((1, 0, 0, 1), lambda image: image),
            ((-1, 0, 0, 1), np.fliplr),
            ((1, 0, 0, -1), np.flipud),
            ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
            ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
            ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
            ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
            ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
        ],
    )
    def test_turned_and_mirrored(self, tmp_path, matrix, expected):
        path = encode(tmp_path / "a.mp4")
        stored = plainly(path)[3]
        a, b, c, d = (65536 * value for value in matrix)
        identity, given = (
            b"".join(value.to_bytes(4, "big", signed=True) for value in values)
            for values in ((65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), (a, b, 0, c, d, 0, 0, 0, 1 << 30))
        )
        data = path.read_bytes()
        place = data.index(identity, data.index(b"tkhd"))
        path.write_bytes(data[:place] + given + data[place + 36 :])
        frame = next(read_frames(path, Selection(indices=(3,))))
        np.testing.assert_array_equal(frame.image, expected(stored))

    @pytest.mark.parametrize(
        ("aspect", "shape"), [((2, 1), (48, 128, 3)), ((1, 2), (96, 64, 3)), ((1, 1), (48, 64, 3))]
    )
    def test_pixels_become_square(self, tmp_path, aspect, shape):
        path = encode(tmp_path / "a.mkv", sample_aspect_ratio=Fraction(*aspect))
        frame = next(read_frames(path, Selection(indices=(21,))))
        assert frame.image.shape == shape
        small = frame.image[:: shape[0] // 48, :: shape[1] // 64]
        assert number_in(small) == 21
