"""Word, speaker, noise: recorded speech in recorded backgrounds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.randomness import keyed_rng
from lrplan.simulate.tasks import Data, Extent, data_folder, tasks
from lrplan.simulate.tasks._cochleagram import Cochlea
from lrplan.simulate.tasks._disk import enlarge, enlarged, folder_of, larger_shape, whole_setting
from lrplan.simulate.tasks._speech import (
    AT_ONCE,
    WordSpeakerNoise,
    as_bytes,
    cochlea_of,
    draw_snr_db,
    mix,
)

FOLDER, FILE = "wsn", "wsn.h5"
NEEDS = (
    "clips of spoken words and of backgrounds. Either WAV files, "
    f"FOLDER/{FOLDER}/speech/<word>/<speaker>/*.wav and FOLDER/{FOLDER}/background/<noise>/*.wav, "
    f"or one HDF5 file, FOLDER/{FILE}, with the datasets speech (clip, sample), word (clip), "
    "speaker (clip), background (clip, sample), noise (clip) and the attribute sample_rate_hz. "
    "Speech Commands (doi.org/10.48550/arXiv.1804.03209), Spoken Wikipedia or TIMIT words and "
    "backgrounds of AudioSet or ESC-50 can be laid out so; lrplan brings none"
)
TEST_SHARE = 0.2
SAMPLE = 16
DATASETS = ("speech", "word", "speaker", "background", "noise")


@dataclass(frozen=True)
class Clips:
    """Clips that have been listed, not read.

    Parameters
    ----------
    names : tuple of str
        By which messages call them.
    read : callable
        ``read(i)`` returns clip i (sample,) of float32 and its sample rate in Hz.
    labels : tuple of array (clip,) of int64
        Words and speakers, or kinds of noise.
    """

    names: tuple[str, ...]
    read: Callable[[int], tuple[np.ndarray, float]]
    labels: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Corpus:
    """Speech and backgrounds, and how many words, speakers and kinds of noise they have."""

    speech: Clips
    background: Clips
    groups: tuple[int, int, int]


def read_wav(path: str) -> tuple[np.ndarray, float]:
    """Return a WAV file's sound (sample,) of float32, channels averaged, and its rate in Hz.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            # Chunks that are no sound (titles and the like) may be there.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate, sound = wavfile.read(path)
    except Exception as error:  # a damaged file fails in any way
        raise DataError(f"{path} is no readable WAV file ({error})") from None
    return _as_float(sound.mean(1) if sound.ndim == 2 else sound, sound.dtype), float(rate)


def _as_float(sound: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return samples as float32; bytes of WAV files have their zero at 128."""
    return (sound - 128.0 if dtype == np.uint8 else sound).astype(np.float32)


def _numbered(names: list[str]) -> np.ndarray:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64).reshape(-1)


def _from_wavs(folder: Path) -> Corpus:
    def clips(part: str, depth: int) -> Clips:
        pattern = "/".join(["*"] * depth) + "/*"
        paths = sorted(
            p for p in (folder / part).glob(pattern) if p.suffix.lower() == ".wav" and p.is_file()
        )
        if not paths:
            raise DataError(f"no WAV files as {folder / part}/{pattern}.wav; it needs {NEEDS}")
        names = tuple(map(str, paths))
        above = [[p.parts[level - depth - 1] for p in paths] for level in range(depth)]
        return Clips(names, lambda i: read_wav(names[i]), tuple(map(_numbered, above)))

    return _corpus(clips("speech", 2), clips("background", 1))


def _from_hdf5(path: Path) -> Corpus:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            for name in DATASETS:
                if name not in file:
                    raise DataError(f"{path} has no dataset {name!r}; it needs {NEEDS}")
            if "sample_rate_hz" not in file.attrs:
                raise DataError(f"{path} has no attribute 'sample_rate_hz'; it needs {NEEDS}")
            rate = float(file.attrs["sample_rate_hz"])
            lengths = {}
            for sounds, names in (("speech", ("word", "speaker")), ("background", ("noise",))):
                if file[sounds].ndim != 2 or len(file[sounds]) == 0:
                    raise DataError(
                        f"{path}: {sounds} has shape {file[sounds].shape}; expected (clip, sample)"
                    )
                lengths[sounds] = len(file[sounds])
                for name in names:
                    if file[name].shape != (lengths[sounds],):
                        raise DataError(
                            f"{path}: {name} has shape {file[name].shape}; expected "
                            f"({lengths[sounds]},), one for each clip of {sounds}"
                        )
            labels = {
                name: np.array([_text(v) for v in file[name][:]])
                for name in ("word", "speaker", "noise")
            }
    except OSError as error:
        raise DataError(f"{path} is no readable HDF5 file ({error})") from None
    if not np.isfinite(rate) or rate <= 0:
        raise DataError(f"{path}: sample_rate_hz is {rate!r}; expected a positive number")

    def clips(sounds: str, *columns: str) -> Clips:
        names = tuple(f"{path}: clip {i} of {sounds}" for i in range(lengths[sounds]))

        def read(i: int) -> tuple[np.ndarray, float]:
            try:
                with h5py.File(path, "r") as file:
                    held = file[sounds][i]
            except (OSError, ValueError) as error:
                raise DataError(f"{names[i]} cannot be read ({error})") from None
            return _as_float(held, held.dtype), rate

        return Clips(names, read, tuple(_numbered(list(labels[c])) for c in columns))

    return _corpus(clips("speech", "word", "speaker"), clips("background", "noise"))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _corpus(speech: Clips, background: Clips) -> Corpus:
    words, speakers, noises = (
        int(labels.max()) + 1 for labels in (*speech.labels, *background.labels)
    )
    if words < 2:
        raise DataError("the speech has one word only; expected at least 2")
    clips_of = np.bincount(speech.labels[0])
    if clips_of.min() < 2:
        only = int(np.flatnonzero(speech.labels[0] == clips_of.argmin())[0])
        raise DataError(
            f"{speech.names[only]} is the only clip of its word; expected at least 2, of which one "
            "is held out"
        )
    return Corpus(speech, background, (words, speakers, noises))


@cache
def _listed(folder: Path) -> Corpus:
    """Return what lies in a data folder."""
    file = folder / FILE
    return _from_hdf5(file) if file.exists() else _from_wavs(folder / FOLDER)


def corpus() -> Corpus:
    """Return what lies in the data folder, listed.

    Raises
    ------
    DataError
        If nothing does, or not as it should.
    """
    try:
        found = (data_folder() / FILE).exists()
    except UsageError:
        found = False
    if not found:
        folder_of("wsn", FOLDER, NEEDS)
    return _listed(data_folder())


class _Reader:
    """Read clips at one rate, and name or skip what cannot be read."""

    def __init__(self, rate_hz: int, skip_unreadable: bool) -> None:
        self.rate_hz = rate_hz
        self.skip_unreadable = skip_unreadable
        self.skipped: list[str] = []

    def read(self, clips: Clips, i: int) -> np.ndarray | None:
        """Return one clip (sample,), or None if it cannot be read and is skipped."""
        from scipy.signal import resample_poly

        try:
            sound, rate = clips.read(i)
            if not np.isfinite(sound).all() or not np.any(sound != sound[:1]):
                raise DataError(f"{clips.names[i]} is silent, or not finite")
        except DataError as error:
            if not self.skip_unreadable:
                raise DataError(
                    f"{error}; repair or remove it, or set skip_unreadable = true"
                ) from None
            self.skipped.append(clips.names[i])
            warnings.warn(f"{error}; skipped ({len(self.skipped)} so far)", stacklevel=2)
            return None
        sound = sound - sound.mean()
        whole = round(rate)
        if whole != self.rate_hz:
            common = gcd(whole, self.rate_hz)
            sound = resample_poly(sound, self.rate_hz // common, whole // common)
        return sound.astype(np.float32)


def _fitted(sound: np.ndarray, samples: int) -> np.ndarray:
    """Return what lies about the centre of a sound's energy, or put silence about a short one."""
    if len(sound) <= samples:
        before = (samples - len(sound)) // 2
        return np.pad(sound, (before, samples - len(sound) - before))
    energy = np.square(sound, dtype=np.float64)
    centre = energy @ np.arange(len(sound)) / energy.sum()
    for middle in (round(centre), int(energy.argmax())):
        start = min(max(0, middle - samples // 2), len(sound) - samples)
        if energy[start : start + samples].any():
            break
    return sound[start : start + samples]


def _held_out(words: np.ndarray) -> np.ndarray:
    """Choose a fifth of each word's clips, at least one, to be held out."""
    chosen = []
    for word in range(int(words.max()) + 1):
        places = keyed_rng("wsn", "split", word).permutation(np.flatnonzero(words == word))
        chosen.append(places[: max(1, round(TEST_SHARE * len(places)))])
    return np.sort(np.concatenate(chosen))


@lru_cache(maxsize=2)
def _mixed(
    folder: Path,
    cochlea: Cochlea,
    snr_db: tuple[float, float],
    mixtures: int,
    skip_unreadable: bool,
) -> tuple[np.ndarray, ...]:
    """Return training cochleagrams and labels and held-out ones."""
    listed = _listed(folder)
    reader = _Reader(int(cochlea.sample_rate_hz), skip_unreadable)
    backgrounds = _backgrounds(listed.background, listed.groups[2], cochlea.samples, reader)
    held_out = _held_out(listed.speech.labels[0])
    kept = np.setdiff1d(np.arange(len(listed.speech.names)), held_out)
    found: list[np.ndarray] = []
    for part, places, copies in (("train", kept, mixtures), ("test", held_out, 1)):
        rng = keyed_rng("wsn", part)
        images: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        # Clips come in a fixed random order, so that the first examples are of all words.
        order = rng.permutation(np.repeat(places, copies))
        for i in range(0, len(order), AT_ONCE):
            read = [(p, reader.read(listed.speech, p)) for p in order[i : i + AT_ONCE].tolist()]
            some = [(p, _fitted(sound, cochlea.samples)) for p, sound in read if sound is not None]
            # Drawn for the skipped ones too: the others stay what they are without them.
            noises = rng.integers(0, listed.groups[2], len(read))
            starts = rng.random(len(read))
            ratio = draw_snr_db(list(snr_db), len(read), rng=rng)
            there = np.array([sound is not None for _, sound in read])
            if not some:
                continue
            noise = [
                _cut(backgrounds[part][kind], start, cochlea.samples)
                for kind, start in zip(noises[there], starts[there], strict=True)
            ]
            sounds = np.stack([sound for _, sound in some])
            images.append(as_bytes(cochlea(mix(sounds, np.stack(noise), ratio[there]))))
            clips = np.array([p for p, _ in some])
            labels.append(
                np.stack([*(column[clips] for column in listed.speech.labels), noises[there]], 1)
            )
        if not images:
            raise DataError(f"no clip of speech for {part} can be read")
        found += [np.concatenate(images), np.concatenate(labels).astype(np.int64)]
    return tuple(found)


def _backgrounds(
    clips: Clips, kinds: int, samples: int, reader: _Reader
) -> dict[str, list[np.ndarray]]:
    """Return one long sound of each kind for training, and another for the held-out clips.

    All recordings of a kind are put one after another; the last fifth is held out.
    """
    found: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for kind in range(kinds):
        read = [reader.read(clips, i) for i in np.flatnonzero(clips.labels[0] == kind).tolist()]
        long = [sound / np.sqrt(np.mean(sound**2)) for sound in read if sound is not None]
        if not long:
            raise DataError(f"no background of kind {kind + 1} of {kinds} can be read")
        whole = np.concatenate(long)
        border = round((1 - TEST_SHARE) * len(whole))
        for part, piece in (("train", whole[:border]), ("test", whole[border:])):
            repeats = -(-samples // max(1, len(piece)))
            if len(piece) == 0 or not piece.any():
                raise DataError(f"the background of kind {kind + 1} of {kinds} is too short")
            found[part].append(np.tile(piece, repeats))
    return found


def _cut(sound: np.ndarray, share: float, samples: int) -> np.ndarray:
    """Return a piece that begins at a share of where it can; a silent piece gives its neighbour."""
    start = int(share * (len(sound) - samples + 1))
    piece = sound[start : start + samples]
    if not piece.any():
        first = int(np.flatnonzero(sound)[0])
        start = min(first, len(sound) - samples)
        piece = sound[start : start + samples]
    return piece


class WordsInNoise(WordSpeakerNoise):
    """Say which word it is, by whom, in which noise, of recordings that a lab has.

    A fifth of each word's clips is held out, and the last fifth of each background. A clip is
    mixed with a random piece of a random background at a ratio that is drawn uniformly in
    decibels, `mixtures` times for training and once if held out, all from a fixed generator.
    """

    summary = "name recorded words, speakers and backgrounds from cochleagrams"
    needs = NEEDS
    settings: dict[str, Any] = {
        "sample_rate_hz": 16000,
        "seconds": 1.0,
        "channels": 64,
        "frames": 128,
        "snr_db": [-10.0, 10.0],
        "mixtures": 1,
        "skip_unreadable": False,
    }

    def groups(self) -> tuple[int, int, int]:
        """Return how many words, speakers and kinds of noise lie in the data folder."""
        return corpus().groups

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return the cochleagrams as uint8, the same ones every time."""
        cochlea = cochlea_of(settings, "wsn")
        mixtures = whole_setting(settings, "mixtures", "wsn")
        corpus()
        low, high = settings["snr_db"]
        images, labels, held_out, held_out_labels = _mixed(
            data_folder(), cochlea, (low, high), mixtures, settings["skip_unreadable"]
        )
        return Data(
            enlarged(images[:, None], size),
            labels,
            enlarge(held_out[:, None], size),
            held_out_labels,
        )

    def extent(self, size: int | None, settings: dict[str, Any]) -> Extent:
        """Return the size of the data; clips are counted, not read."""
        cochlea = cochlea_of(settings, "wsn")
        words = corpus().speech.labels[0]
        test = len(_held_out(words))
        train = (len(words) - test) * whole_setting(settings, "mixtures", "wsn")
        return Extent((1, *larger_shape(cochlea.channels, cochlea.frames, size)), train, test)

    def check(self, settings: dict[str, Any]) -> None:
        """Read some clips of speech and of backgrounds, evenly spread."""
        cochlea_of(settings, "wsn")
        self.extent(None, settings)
        reader = _Reader(settings["sample_rate_hz"], settings["skip_unreadable"])
        for clips in (corpus().speech, corpus().background):
            for i in np.unique(np.linspace(0, len(clips.names) - 1, SAMPLE).round().astype(int)):
                reader.read(clips, int(i))


tasks.add("wsn", WordsInNoise())
