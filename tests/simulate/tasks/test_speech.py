from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.io import wavfile

from lrplan.errors import DataError, UsageError
from lrplan.simulate.tasks import tasks, wsn
from lrplan.simulate.tasks._cochleagram import (
    LOWEST_BANDWIDTH_HZ,
    Cochlea,
    Q,
    erb_number,
)
from lrplan.simulate.tasks._speech import draw_snr_db, mix
from lrplan.simulate.tasks.tones import NOISES, VOICES, WORDS, make_noise, speak

WSN, TONES = tasks.get("wsn"), tasks.get("tones")


def erb_frequency_hz(number):
    """The inverse of `erb_number`."""
    return Q * LOWEST_BANDWIDTH_HZ * np.expm1(np.asarray(number) / Q)


def centres_hz(cochlea):
    """The frequencies that pass unweakened."""
    return erb_frequency_hz(cochlea._edges[1:-1])


@pytest.fixture
def small(small_settings):
    return WSN.settings | small_settings["wsn"]


def power_db(sounds):
    return 10 * np.log10(np.mean(np.square(sounds, dtype=float), axis=-1))


def test_the_scale_of_bandwidths_has_an_inverse():
    f = np.array([0.0, 50.0, 1000.0, 8000.0])
    np.testing.assert_allclose(erb_frequency_hz(erb_number(f)), f, atol=1e-9)
    # Glasberg & Moore give 132.6 Hz at 1 kHz; the scale's slope is its inverse.
    assert 1 / (erb_number(1000.5) - erb_number(999.5)) == pytest.approx(132.6, rel=0.01)


def test_squared_filters_add_to_one():
    cochlea = Cochlea(16000, 16000, 30, 50)
    total = np.zeros(8001)
    for first, gains in cochlea.filters:
        total[first : first + len(gains)] += gains.astype(float) ** 2
    low, high = centres_hz(cochlea)[[0, -1]]
    np.testing.assert_allclose(total[int(low) + 1 : int(high)], 1.0, atol=1e-5)


def test_a_pure_tone_peaks_in_its_channel():
    cochlea = Cochlea(8000, 4000, 32, 25)
    time = np.arange(4000) / 8000
    for channel, f in list(enumerate(centres_hz(cochlea)))[2::5]:
        sound = np.sqrt(2) * np.sin(2 * np.pi * f * time)
        found = cochlea(sound[None])[0]
        assert found.shape == (32, 25)
        assert (found[:, 3:-3].argmax(0) == channel).all()
        # Its envelope is its amplitude, compressed.
        np.testing.assert_allclose(found[channel, 5:-5], np.sqrt(2) ** 0.3, rtol=0.02)


def test_a_click_peaks_in_its_frame():
    cochlea = Cochlea(8000, 4000, 16, 40)
    sound = np.zeros((1, 4000))
    sound[0, 1050] = 1.0
    assert cochlea(sound)[0][-5:].sum(0).argmax() == 1050 * 40 // 4000


def test_envelopes_follow_a_slow_modulation():
    cochlea = Cochlea(8000, 8000, 20, 100)
    time = np.arange(8000) / 8000
    f = centres_hz(cochlea)[15]
    slow = 1 + 0.8 * np.sin(2 * np.pi * 3 * time)
    found = cochlea((slow * np.sin(2 * np.pi * f * time))[None])[0, 15]
    expected = 1 + 0.8 * np.sin(2 * np.pi * 3 * (np.arange(100) + 0.5) / 100)
    assert np.corrcoef(found ** (1 / 0.3), expected)[0, 1] > 0.999


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((8000, 400, 200, 20), "200 channels are too many"), ((150, 400, 4, 4), "too low")],
)
def test_a_cochlea_that_cannot_be_is_refused(arguments, said):
    with pytest.raises(UsageError, match=said):
        Cochlea(*arguments)


def test_the_ratio_of_a_mixture_is_the_drawn_one():
    rng = np.random.default_rng(0)
    speech, noise = 30 * rng.standard_normal((6, 5000)), 0.2 * rng.standard_normal((6, 5000))
    ratio = draw_snr_db([-10.0, 10.0], 6, rng=rng)
    assert (abs(ratio) <= 10).all()
    mixed = mix(speech, noise, ratio)
    np.testing.assert_allclose(power_db(mixed), 0, atol=1e-3)
    # What is left of the mixture without the speech's share is the noise.
    share = np.array(
        [
            np.linalg.lstsq(np.stack([s, n], 1), m, rcond=None)[0]
            for s, n, m in zip(speech, noise, mixed, strict=True)
        ]
    )
    found = power_db(share[:, :1] * speech) - power_db(share[:, 1:] * noise)
    np.testing.assert_allclose(found, ratio, atol=1e-3)


def test_generated_voices_have_their_pitch_and_words_their_formants():
    rng = np.random.default_rng(0)
    n = 40
    for speaker in (0, 5):
        sounds = speak(
            np.zeros(n, int), np.full(n, speaker), sample_rate_hz=8000, samples=4000, rng=rng
        )
        spectrum = abs(np.fft.rfft(sounds, axis=1)) ** 2
        below = spectrum[:, : int(1.5 * VOICES[speaker].pitch_hz / 2)]
        peak = below.argmax(1) * 2.0
        assert np.median(peak) == pytest.approx(VOICES[speaker].pitch_hz, rel=0.12)
    # "iau" begins with a low first formant and has a high one in its middle.
    assert len({frozenset(w) for w in WORDS}) == 2


def test_generated_noises_differ_in_kind():
    n = 20
    sounds = {
        name: make_noise(
            np.full(n, i), sample_rate_hz=8000, samples=4000, rng=np.random.default_rng(0)
        )
        for i, name in enumerate(NOISES)
    }
    slope = {}
    for name, sound in sounds.items():
        spectrum = (abs(np.fft.rfft(sound, axis=1)) ** 2).mean(0)
        slope[name] = 10 * np.log10(spectrum[100:200].mean() / spectrum[1000:2000].mean())
    assert abs(slope["white"]) < 1
    assert slope["pink"] == pytest.approx(10, abs=1.5)  # 3 dB per octave, a decade
    assert slope["hum"] > 20
    loud = {k: np.square(v).reshape(n, 20, 200).mean(2) for k, v in sounds.items()}
    uneven = {k: (v.std(1) / v.mean(1)).mean() for k, v in loud.items()}
    assert uneven["pulsed"] > 3 * uneven["pink"]


def test_the_loss_is_the_sum_of_three_and_the_word_is_judged():
    rng = np.random.default_rng(0)
    groups = TONES.groups()
    output = torch.from_numpy(rng.standard_normal((7, sum(groups))))
    labels = torch.from_numpy(np.stack([rng.integers(0, g, 7) for g in groups], 1))
    w, s, _ = groups
    expected = (
        F.cross_entropy(output[:, :w], labels[:, 0])
        + F.cross_entropy(output[:, w : w + s], labels[:, 1])
        + F.cross_entropy(output[:, w + s :], labels[:, 2])
    )
    torch.testing.assert_close(TONES.loss(output, labels, {}), expected)
    output[:, w:] += 100.0
    assert (
        TONES.correct(output, labels).tolist() == (output[:, :w].argmax(1) == labels[:, 0]).tolist()
    )
    assert TONES.correct(torch.stack([output] * 3), labels).shape == (3, 7)


def test_folders_name_words_speakers_and_noises(data, small):
    assert WSN.groups() == (3, 2, 2)
    assert WSN.head(small).width == 7
    loaded = WSN.load(None, small)
    # Of six clips of a word one is held out; the others are mixed twice.
    assert np.bincount(loaded.train_labels[:, 0]).tolist() == [10, 10, 10]
    assert np.bincount(loaded.test_labels[:, 0]).tolist() == [1, 1, 1]
    assert loaded.train.shape == (30, 1, 16, 18)
    assert set(loaded.train_labels[:, 2].tolist()) == {0, 1}
    # Words are numbered by name: "go" has the highest pitch but one.
    rows = np.array(
        [loaded.train[loaded.train_labels[:, 0] == w].mean((0, 1, 3)) for w in range(3)]
    )
    pitches = rows.argmax(1)
    assert pitches.tolist() == sorted(pitches[[2, 0, 1]].tolist())[1:] + [min(pitches)]


def test_a_file_of_hdf5_gives_what_the_folders_give(data, small):
    from_folders = WSN.load(None, small)
    file = data / "wsn.h5"
    with h5py.File(file, "w") as out:
        for part, columns in (("speech", ("word", "speaker")), ("background", ("noise",))):
            paths = sorted((data / "wsn" / part).rglob("*.wav"))
            out[part] = np.stack([wavfile.read(p)[1] for p in paths])
            for level, name in enumerate(reversed(columns), start=2):
                out[name] = [p.parts[-level] for p in paths]
        out.attrs["sample_rate_hz"] = 8000
    shutil.rmtree(data / "wsn")
    wsn._listed.cache_clear()
    wsn._mixed.cache_clear()
    WSN.check(small)
    loaded = WSN.load(None, small)
    np.testing.assert_array_equal(loaded.train, from_folders.train)
    np.testing.assert_array_equal(loaded.test_labels, from_folders.test_labels)

    for change, said in (
        (lambda f: f.attrs.pop("sample_rate_hz"), "sample_rate_hz"),
        (lambda f: f.pop("noise"), "no dataset 'noise'"),
        (
            lambda f: (f.pop("word"), f.create_dataset("word", data=[b"a"])),
            r"word has shape \(1,\)",
        ),
    ):
        with h5py.File(file, "a") as out:
            change(out)
        wsn._listed.cache_clear()
        with pytest.raises(DataError, match=said):
            WSN.check(small)
        with h5py.File(file, "a") as out:
            out.attrs["sample_rate_hz"] = 8000
            if "noise" not in out:
                out["noise"] = ["rain", "street"]
    file.write_bytes(b"no HDF5")
    wsn._listed.cache_clear()
    with pytest.raises(DataError, match=r"wsn\.h5 is no readable HDF5"):
        WSN.check(small)


def test_held_out_clips_are_not_trained_on(data, small):
    words = wsn.corpus().speech.labels[0]
    held_out = wsn._held_out(words)
    assert np.bincount(words[held_out]).tolist() == [1, 1, 1]
    np.testing.assert_array_equal(held_out, wsn._held_out(words))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_every_common_wav_is_read(tmp_path, dtype):
    time = np.arange(800) / 8000
    sound = np.sin(2 * np.pi * 440 * time)
    scale = {np.uint8: 127, np.int16: 2**15 - 1, np.int32: 2**31 - 1, np.float32: 1}[dtype]
    held = (sound * scale + (128 if dtype == np.uint8 else 0)).astype(dtype)
    wavfile.write(tmp_path / "a.wav", 8000, np.stack([held, held], 1))
    found, rate = wsn.read_wav(str(tmp_path / "a.wav"))
    assert rate == 8000
    np.testing.assert_allclose(found / scale, sound, atol=0.02)


def test_long_clips_keep_what_is_loud_and_short_ones_get_silence():
    sound = np.zeros(1000, np.float32)
    sound[700:760] = 1.0
    cut = wsn._fitted(sound, 200)
    assert (len(cut), cut.sum()) == (200, 60)
    assert wsn._fitted(np.ones(10, np.float32), 20).tolist() == [0] * 5 + [1] * 10 + [0] * 5


def test_missing_speech_is_asked_for(tmp_path, monkeypatch, small):
    monkeypatch.delenv("LRPLAN_DATA", raising=False)
    with pytest.raises(UsageError, match=r"'wsn' needs data.*--data FOLDER"):
        WSN.check(small)
    monkeypatch.setenv("LRPLAN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"wsn.*speech/<word>/<speaker>"):
        WSN.check(small)
    (tmp_path / "wsn").mkdir()
    with pytest.raises(DataError, match=r"no WAV files"):
        WSN.check(small)


def test_an_unreadable_clip_is_named_and_skipped_only_if_asked(data, small):
    bad = data / "wsn" / "speech" / "go" / "ann" / "0.wav"  # the first is looked at before
    bad.write_bytes(bad.read_bytes()[:30])
    for act in (WSN.check, lambda s: WSN.load(None, s)):
        with pytest.raises(DataError, match=r"ann.0\.wav is no readable.*skip_unreadable"):
            act(small)
    with pytest.warns(UserWarning, match=r"0\.wav.*skipped \(1 so far\)"):
        loaded = WSN.load(None, small | {"skip_unreadable": True, "mixtures": 1})
    assert len(loaded.train) + len(loaded.test) == 17


def test_a_silent_clip_is_unreadable(data, small):
    bad = data / "wsn" / "background" / "rain" / "0.wav"
    wavfile.write(bad, 8000, np.zeros(8000, np.int16))
    with pytest.raises(DataError, match=r"0\.wav is silent"):
        WSN.check(small)


def test_words_need_two_clips(data, small):
    shutil.rmtree(data / "wsn" / "speech" / "go" / "bob")
    for name in ("1.wav", "2.wav"):
        (data / "wsn" / "speech" / "go" / "ann" / name).unlink()
    with pytest.raises(DataError, match=r"go.ann.0\.wav is the only clip of its word"):
        WSN.check(small)


@pytest.mark.parametrize("task", ["wsn", "tones"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"snr_db": [10.0, -10.0]}, "snr_db"),
        ({"snr_db": [1.0]}, "snr_db"),
        ({"seconds": 0.0}, "seconds is 0.0"),
        ({"sample_rate_hz": 10}, "sample_rate_hz is 10"),
        ({"channels": 0}, "channels is 0"),
        ({"channels": 4000}, "4000 channels are too many"),
        ({"frames": 0}, "frames is 0"),
        ({"frames": 10**6}, "frames"),
    ],
)
def test_settings_that_cannot_be_are_refused(data, task, changes, said):
    with pytest.raises(UsageError, match=said):
        tasks.get(task).check(tasks.get(task).settings | changes)
