"""The classifiers that a training on labels may have; all put out cosines, which the gate and label correction read."""

import torch
from torch import Tensor

from selfsv.losses.aam import AamClassifier
from selfsv.losses.sphereface2 import SphereFace2Classifier
from selfsv.losses.sub_centre import SubCentreClassifier
from selfsv.settings.train import AamTraining


def classifier_of(settings: AamTraining, embedding: int, classes: int) -> AamClassifier:
    """The classifier that the settings name, with random weights.

    Args:
        embedding: dimensions of the encoder's output.
        classes: number of speakers or pseudo speakers.
    """
    chosen, aam = settings.classifier, settings.aam
    if chosen.kind == "sub_centre":
        return SubCentreClassifier(embedding, classes, chosen.centres)
    if chosen.kind == "sphereface2":
        return SphereFace2Classifier(
            embedding, classes, balance=chosen.balance, exponent=chosen.exponent, scale=aam.scale, margin=aam.margin
        )
    return AamClassifier(embedding, classes)


def fresh_classifier(settings: AamTraining, embedding: int, classes: int, seed: int, stage: int) -> AamClassifier:
    """A classifier with random weights that depend on (seed, stage) alone."""
    torch.manual_seed(1000 * seed + stage)
    return classifier_of(settings, embedding, classes)


def knowing_classifier(settings: AamTraining, means: Tensor, seed: int, stage: int) -> AamClassifier:
    """A classifier that begins with the classes' means; what is random beside them depends on (seed, stage) alone.

    Args:
        means: [classes, D], from `class_means`.
    """
    torch.manual_seed(1000 * seed + stage)
    classifier = classifier_of(settings, means.shape[1], len(means))
    classifier.begin_with(means)
    return classifier
