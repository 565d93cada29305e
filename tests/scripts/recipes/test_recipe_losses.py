"""The losses against slow, obvious forms of themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scripts.recipes.default.student_losses import corrected_by_labels, distillation_loss, standardised


def test_distillation_is_nothing_for_a_student_that_ranks_as_the_teacher() -> None:
    teacher = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    weights = torch.ones(4)
    assert float(distillation_loss(3 * teacher + 5, teacher, weights)) == pytest.approx(0, abs=1e-4)
    assert float(distillation_loss(-teacher, teacher, weights)) == pytest.approx(2, abs=1e-4)


def test_distillation_follows_the_weights() -> None:
    teacher = torch.randn(20, 2, generator=torch.Generator().manual_seed(1))
    student = torch.stack([teacher[:, 0], -teacher[:, 1]], 1)
    assert float(distillation_loss(student, teacher, torch.tensor([1.0, 0.0]))) == pytest.approx(0, abs=1e-4)
    assert float(distillation_loss(student, teacher, torch.tensor([1.0, 1.0]))) == pytest.approx(1, abs=1e-4)


def test_standardised_has_mean_0_and_spread_1() -> None:
    scores = standardised(torch.randn(50, 3, generator=torch.Generator().manual_seed(2)) * 7 + 3)
    torch.testing.assert_close(scores.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.square().mean(0), torch.ones(3), atol=1e-4, rtol=0)


def test_labels_put_the_teacher_right() -> None:
    teacher = np.array([[0.0, 1.0], [1.0, 5.0], [2.0, 0.0], [9.0, 2.0]], dtype=np.float32)
    present = np.array([[True, False], [False, False], [False, False], [True, False]])
    absent = np.array([[False, False], [False, True], [True, True], [True, False]])
    corrected = corrected_by_labels(teacher, present, absent)
    mean, spread = teacher.mean(0), teacher.std(0)
    assert corrected[0, 0] == pytest.approx(mean[0] + 3 * spread[0])  # heard, and the teacher had missed it
    assert corrected[3, 0] == pytest.approx(max(9.0, mean[0] + 3 * spread[0]))
    assert corrected[1, 0] == 1.0  # nothing is known
    assert corrected[2, 0] == 2.0  # absent, and the teacher agrees
    assert corrected[1, 1] == pytest.approx(mean[1])  # absent, and the teacher was sure
    assert corrected.dtype == np.float32
