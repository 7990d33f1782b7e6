"""Augmentation sources for whoever has none: coloured noise, chords, mixtures of voices, and simulated rooms.

Every draw takes its own random generator, so that a segment depends on the seed and its number only.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from selfsv.prepare.decoding import FULL_SCALE, RATE
from selfsv.prepare.reading import Samples

# --- noise and music -------------------------------------------------------------------------------------------------

COLOURS = {"white": 0.0, "pink": 1.0, "brown": 2.0}  # power falls with frequency to this power
LOWEST_HZ = 20.0  # below, coloured noise would be all rumble
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 11), (0, 3, 7, 10), (0, 5, 7))  # semitones above the root
PROGRESSIONS = ((0, 5, 7, 0), (0, 7, 9, 5), (0, 9, 5, 7), (0, 3, 10, 5))  # roots, semitones above the key
PARTIALS = 8


def coloured_noise(seconds: float, rng: np.random.Generator) -> Samples:
    """White, pink or brown noise, with the slow swells of wind or traffic: [num_samples] float32, root mean square about 1."""
    noise = noise_of_colour(round(seconds * RATE), COLOURS[str(rng.choice(list(COLOURS)))], rng)
    time = np.arange(len(noise)) / RATE
    depth, rate, phase = rng.uniform(0, 0.9), np.exp(rng.uniform(np.log(0.2), np.log(8.0))), rng.uniform(0, 2 * np.pi)
    return (noise * (1 + depth * np.sin(2 * np.pi * rate * time + phase))).astype(np.float32)


def noise_of_colour(num_samples: int, exponent: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Gaussian noise whose power falls as 1 / frequency^exponent from 20 Hz up: [num_samples], root mean square 1."""
    size = next_fast_len(num_samples, real=True)  # a length with large prime factors would take several times as long
    spectrum = rfft(rng.standard_normal(size))
    frequency = np.maximum(rfftfreq(size, 1 / RATE), LOWEST_HZ)
    noise = irfft(spectrum * frequency ** (-exponent / 2), size)[:num_samples]
    return noise / max(float(np.sqrt(np.mean(noise**2))), np.finfo(float).tiny)


def chords(seconds: float, rng: np.random.Generator) -> Samples:
    """Struck chords over a bass with a drum: nobody's favourite tune, but harmonic and rhythmic. [num_samples] float32."""
    num_samples = round(seconds * RATE)
    music = np.zeros(num_samples)
    beat = round(RATE * 60 / rng.uniform(70, 150))
    key, progression, decay = rng.uniform(36, 48), PROGRESSIONS[rng.integers(len(PROGRESSIONS))], rng.uniform(1.5, 6.0)
    brightness, drum = rng.uniform(0.5, 2.0), rng.uniform(0, 0.6)
    for number, start in enumerate(range(0, num_samples, beat)):
        length = min(2 * beat, num_samples - start)
        root = key + progression[number // 4 % len(progression)]
        semitones = (0, *(12 + step for step in CHORDS[rng.integers(len(CHORDS))]))
        strike = sum(_note(root + step, length, decay, brightness) for step in semitones)
        hit = rng.standard_normal(length) * np.exp(-np.arange(length) / RATE * 40)
        music[start : start + length] += strike + drum * hit
    return music.astype(np.float32)


def _note(semitone: float, length: int, decay: float, brightness: float) -> NDArray[np.float64]:
    """A struck string at `semitone` (MIDI numbering, 69 = 440 Hz): [length]."""
    time = np.arange(length) / RATE
    fundamental = 440.0 * 2 ** ((semitone - 69) / 12)
    angle = 2 * np.pi * fundamental * time
    below, partial_, twice_cosine = np.zeros(length), np.sin(angle), 2 * np.cos(angle)
    tone = np.zeros(length)
    for n in range(1, min(PARTIALS, int(RATE / 2 / fundamental)) + 1):
        tone += partial_ / n**brightness
        below, partial_ = partial_, twice_cosine * partial_ - below  # sin (n+1)a = 2 cos a sin na - sin (n-1)a
    return tone * np.minimum(time / 0.01, 1.0) * np.exp(-decay * time)


# --- mixtures --------------------------------------------------------------------------------------------------------


def mixture(tracks: Sequence[Samples], seconds: float, rng: np.random.Generator) -> Samples:
    """`tracks` brought to equal power and summed, each from a random point and repeated as needed: [num_samples] float32."""
    num_samples = round(seconds * RATE)
    total = np.zeros(num_samples, np.float32)
    for track in tracks:
        power = float(np.mean(np.square(track, dtype=np.float64)))
        if power > 0:
            total += np.resize(np.roll(track, -int(rng.integers(len(track)))), num_samples) / np.float32(math.sqrt(power))
    return total


# --- rooms -----------------------------------------------------------------------------------------------------------

# Length and width, metres, as in RIRS_NOISES (whose small rooms begin at 1 m); heights there are 2 to 5 m too.
ROOM_SIZES = ((2.0, 10.0), (10.0, 30.0), (30.0, 50.0))
HEIGHT = (2.0, 5.0)
RT60 = (0.1, 1.0)  # seconds
ABSORPTION = (0.05, 0.95)  # of walls that exist
FROM_WALL = 0.4  # metres
DISTANCE = (0.3, 6.0)  # metres between mouth and microphone
IMAGE_ORDER = 20
SPEED_OF_SOUND = 343.0
SABINE = 24 * math.log(10) / SPEED_OF_SOUND  # s/m


class Room(NamedTuple):
    """A shoebox with one talker and one microphone; lengths in metres."""

    size: NDArray[np.float64]
    rt60: float
    absorption: float
    talker: NDArray[np.float64]
    microphone: NDArray[np.float64]


def simulated_responses(count: int, seconds: float, seed: int, processes: int) -> Iterator[Samples]:
    """`count` responses of random rooms, equally many small, medium and large: each [num_samples] float32, 16 kHz.

    The result does not depend on the number of `processes`.
    """
    simulate = partial(simulate_response, seconds=seconds, seed=seed)
    if processes <= 1:
        yield from map(simulate, range(count))
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(simulate, range(count), chunksize=16)


def simulate_response(index: int, seconds: float, seed: int) -> Samples:
    """The response of the random room number `index`, from before its direct path to `seconds` after: [num_samples]."""
    rng = np.random.default_rng([seed, index])
    room = draw_room(index % len(ROOM_SIZES), rng)
    return with_late_tail(image_source_response(room), room, seconds, rng).astype(np.float32)


def draw_room(size_class: int, rng: np.random.Generator) -> Room:
    """A room of the given class whose reverberation time its walls can have (Sabine), with talker and microphone inside."""
    while True:
        size = np.array([*rng.uniform(*ROOM_SIZES[size_class], size=2), rng.uniform(*HEIGHT)])
        rt60 = rng.uniform(*RT60)
        absorption = SABINE * np.prod(size) / (_surface(size) * rt60)
        talker, microphone = rng.uniform(FROM_WALL, size - FROM_WALL, size=(2, 3))
        if ABSORPTION[0] <= absorption <= ABSORPTION[1] and DISTANCE[0] <= np.linalg.norm(talker - microphone) <= DISTANCE[1]:
            return Room(size, rt60, float(absorption), talker, microphone)


def _surface(size: NDArray[np.float64]) -> float:
    length, width, height = size
    return float(2 * (length * width + length * height + width * height))


def image_source_response(room: Room) -> NDArray[np.float64]:
    """The room's impulse response by the image source method up to order 20: [num_samples]."""
    import pyroomacoustics

    pyroomacoustics.constants.set("num_threads", 1)  # sums in one order
    box = pyroomacoustics.ShoeBox(room.size, fs=RATE, materials=pyroomacoustics.Material(room.absorption), max_order=IMAGE_ORDER)
    box.add_source(room.talker)
    box.add_microphone(room.microphone)
    box.compute_rir()
    return np.asarray(box.rir[0][0], dtype=np.float64)


def with_late_tail(early: NDArray[np.float64], room: Room, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """`early` continued to `seconds` after its peak where its order ends before the room falls silent.

    Images up to order N are complete up to a time of N / (c √Σ 1/size²). From there on, where single reflections have long
    stopped being audible, the tail is Gaussian noise with the room's decay, as loud as the reflections just before.
    """
    complete = int(IMAGE_ORDER / math.sqrt(float(np.sum(room.size**-2.0))) / SPEED_OF_SOUND * RATE)
    end = int(np.argmax(np.abs(early))) + round(seconds * RATE)
    if complete >= min(end, int(room.rt60 * RATE)):
        return early
    response = np.zeros(max(end, complete))
    response[: min(len(early), len(response))] = early[: len(response)]
    decay = np.exp(-math.log(1000) * np.arange(len(response)) / (room.rt60 * RATE))
    tail = rng.standard_normal(len(response)) * decay
    joint = slice(complete * 2 // 3, complete)
    level = math.sqrt(float(np.sum(early[joint] ** 2)) / max(float(np.sum(tail[joint] ** 2)), np.finfo(float).tiny))
    fade = np.clip((np.arange(len(response)) - joint.start) / (joint.stop - joint.start), 0, 1)
    # Powers add up to one across the joint: the two parts are not correlated.
    return response * np.sqrt(1 - fade) + level * tail * np.sqrt(fade)


def finished_response(response: Samples, seconds: float) -> NDArray[np.int16]:
    """`response` from its direct path (its peak, made full scale) on, at most `seconds` long, without what rounds to zero at the end."""
    peak = int(np.argmax(np.abs(response)))
    cut = response[peak : peak + max(1, round(seconds * RATE))]
    rounded = np.rint(cut / abs(cut[0]) * FULL_SCALE).astype(np.int16)
    return rounded[: int(np.flatnonzero(rounded)[-1]) + 1]
