"""Frames of videos made on the spot: each frame's grey level tells its number."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from video_files import level, picture, write_video

from lae_tf.data.finding import find_videos
from lae_tf.errors import UsageError, VideoError
from lae_tf.video.frames import Selection, read_frames


class TestReading:
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
    def test_every_nth_is_the_right_frame(self, tmp_path, suffix):
        path = write_video(tmp_path / f"a{suffix}", frames=23, keys=5)
        frames = list(read_frames(path, Selection(every=4)))
        assert [frame.index for frame in frames] == [0, 4, 8, 12, 16, 20]
        np.testing.assert_allclose([level(frame.image) for frame in frames], [0, 4, 8, 12, 16, 20], atol=1)
        np.testing.assert_allclose([frame.time for frame in frames], np.array([0, 4, 8, 12, 16, 20]) / 10, atol=1e-3)

    def test_reordered_frames(self, tmp_path):
        path = write_video(tmp_path / "b.mp4", frames=20, options={"bf": "3", "b-pyramid": "none"})
        frames = list(read_frames(path, Selection(every=1)))
        assert [level(frame.image) for frame in frames] == list(range(20))

    def test_count_is_spread_over_the_time(self, tmp_path):
        # frames 0-9 within the first second, 10-19 one a second: times matter, not numbers
        times = [i * 100 for i in range(10)] + [1000 * (i + 1) for i in range(10)]
        path = write_video(tmp_path / "vfr.mkv", frames=20, times=times)
        frames = list(read_frames(path, Selection(count=5)))
        assert [frame.index for frame in frames] == [10, 12, 14, 16, 18]  # at 1, 3, 5, 7 and 9 s
        assert [level(frame.image) for frame in frames] == [10, 12, 14, 16, 18]
        assert frames[-1].time == pytest.approx(9.0)

    def test_only_what_is_needed_is_decoded(self, tmp_path):
        path = write_video(tmp_path / "long.mp4", frames=60, keys=6)
        frames = list(read_frames(path, Selection(count=2)))
        assert [level(frame.image) for frame in frames] == [frame.index for frame in frames]
        # a file whose middle is destroyed still gives the frames of other stretches
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
            spans = [(p.pos, p.size) for p in packets]
        data = bytearray(path.read_bytes())
        for position, size in spans[24:30]:
            data[position : position + size] = bytes(size)
        path.write_bytes(bytes(data))
        assert [level(frame.image) for frame in read_frames(path, Selection(count=2))] == [f.index for f in frames]
        with pytest.raises(VideoError):
            list(read_frames(path, Selection(every=1)))

    @pytest.mark.parametrize("quarter", [0, 1, 2, 3])
    def test_rotation(self, tmp_path, quarter):
        # the matrix says x' = -y, y' = x for one quarter: clockwise (OpenCV 5 shows it so too)
        path = write_video(tmp_path / "r.mp4", frames=3, corner=True, quarter=quarter)
        frame = next(read_frames(path, Selection(every=1))).image
        expected = np.rot90(picture(0, corner=True), -quarter)
        assert frame.shape == expected.shape
        off = np.abs(frame.astype(int) - expected)
        assert np.mean(off > 20) < 0.05  # colour bleeds over the edge of the corner

    def test_bad_files(self, tmp_path):
        good = write_video(tmp_path / "good.mp4", frames=10).read_bytes()
        for name, data in {"empty": b"", "text": b"hello" * 100, "cut": good[: len(good) // 2]}.items():
            path = tmp_path / f"{name}.mp4"
            path.write_bytes(data)
            with pytest.raises(VideoError, match=name):
                list(read_frames(path, Selection(every=1)))
        with pytest.raises(VideoError):
            list(read_frames(tmp_path / "none.mp4", Selection(every=1)))

    def test_playlists_are_refused(self, tmp_path):
        write_video(tmp_path / "a.mp4", frames=5)
        for name, text in {
            "list.mp4": "ffconcat version 1.0\nfile a.mp4\n",
            "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n",
        }.items():
            (tmp_path / name).write_text(text)
            with pytest.raises(VideoError):
                list(read_frames(tmp_path / name, Selection(every=1)))


class TestSelection:
    @given(
        gaps=st.lists(st.floats(0.001, 10), min_size=1, max_size=60),
        count=st.integers(1, 80),
    )
    def test_count_gives_so_many_distinct_frames(self, gaps, count):
        times = np.cumsum(gaps).tolist()
        chosen = Selection(count=count).choose(times)
        assert len(chosen) == min(count, len(times))
        assert chosen == sorted(set(chosen)) and chosen[0] >= 0 and chosen[-1] < len(times)

    @pytest.mark.parametrize("given_", [{}, {"every": 1, "count": 1}, {"every": 0}, {"count": -1}])
    def test_exactly_one_rule(self, given_):
        with pytest.raises(UsageError):
            Selection(**given_)


def test_find_videos(tmp_path):
    for name in ("b.MP4", "a.mkv", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find_videos(tmp_path)] == ["a.mkv", "b.MP4"]
    with pytest.raises(UsageError, match="no video"):
        find_videos(tmp_path / "c")
