"""Where a recording holds speech, by a network: Silero VAD, of the extra `vad`.

Energy cannot tell speech from music or steady noise; the network can. Its package holds its weights: nothing is downloaded.
"""

import numpy as np
from numpy.typing import NDArray

from selfsv.extras import package
from selfsv.prepare.decoding import RATE

EXTRA = "vad"
MARGIN = RATE // 4  # samples that stay before and after speech: soft beginnings and ends are in them


class SpeechDetector:
    """Silero VAD (https://github.com/snakers4/silero-vad), by its package's ONNX graph and defaults.

    By these defaults, speech has a probability of 0.5 in windows of 32 ms, and a stretch of speech lasts 250 ms at least. Pauses of
    less than 100 ms stay within it, and 30 ms before and after.

    Threads can share a detector. It does not change between calls.

    Raises:
        InputError: a package of the extra is missing.
    """

    def __init__(self) -> None:
        import torch  # silero_vad needs it; decoding without a detector does not

        threads = torch.get_num_threads()
        package("onnxruntime", EXTRA)
        silero_vad = package("silero_vad", EXTRA)
        torch.set_num_threads(threads)  # importing silero_vad sets it to one, for all of the process
        self._timestamps = silero_vad.get_speech_timestamps_sequence
        # As one graph over many windows: what its package calls otherwise is one call per window, or a pickle of TorchScript.
        self._model = silero_vad.load_silero_vad(sequence=True)

    def stretches(self, samples: NDArray[np.int16]) -> list[tuple[int, int]]:
        """The stretches of speech, in order: their first sample, and the one after their last.

        Args:
            samples: [num_samples] at 16 kHz. Their level does not matter: the peak is normalised.
        """
        waveform = samples - np.float32(samples.mean())
        waveform /= max(1.0, float(waveform.max()), -float(waveform.min()))
        return [(part["start"], part["end"]) for part in self._timestamps(waveform, self._model, sampling_rate=RATE)]


def with_margins(stretches: list[tuple[int, int]], num_samples: int) -> list[tuple[int, int]]:
    """Each stretch with a margin before and after it; those that then touch are one."""
    found: list[tuple[int, int]] = []
    for start, end in stretches:
        start, end = max(0, start - MARGIN), min(num_samples, end + MARGIN)
        if found and start <= found[-1][1]:
            start = found.pop()[0]
        found.append((start, end))
    return found
