"""Calibration and fidelity against worked examples, scikit-learn and a direct minimisation."""

import numpy as np
import pytest
from scipy import optimize, special, stats
from sklearn.metrics import log_loss

from mmkd import calibration as cal
from mmkd.errors import DataError


def sampled(seed, n=4000, classes=4, scale=2.0):
    """Logits `[n, classes]` and labels drawn from their softmax: calibrated at T = 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, classes))
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


class TestExpectedCalibrationError:
    def test_by_hand(self):
        p = np.array([[0.95, 0.05], [0.85, 0.15], [0.4, 0.6], [0.35, 0.65], [0.3, 0.7]])
        labels = [0, 1, 1, 1, 0]
        # bins of 0.2: (0.4, 0.6] holds 0.6 (right), (0.6, 0.8] 0.65 (right), 0.7 (wrong), (0.8, 1] 0.95 (right), 0.85
        by_hand = (1 * abs(1 - 0.6) + 2 * abs(0.5 - 0.675) + 2 * abs(0.5 - 0.9)) / 5
        assert cal.expected_calibration_error(p, labels, bins=5) == pytest.approx(by_hand)
        assert cal.expected_calibration_error(p, labels, bins=1) == pytest.approx(abs(3 / 5 - 0.75))

    def test_curve_by_hand(self):
        curve = cal.reliability_curve([[1.0, 0.0], [0.45, 0.55], [0.2, 0.8]], [0, 0, 1], bins=2)
        np.testing.assert_array_equal(curve.edges, [0, 0.5, 1])
        np.testing.assert_array_equal(curve.count, [0, 3])
        assert np.isnan(curve.accuracy[0])
        assert curve.confidence[1] == pytest.approx((1 + 0.55 + 0.8) / 3)
        assert curve.accuracy[1] == pytest.approx(2 / 3)
        np.testing.assert_array_equal(cal.reliability_curve([[0.5, 0.5]], [0], bins=2).count, [1, 0])  # upper edge

    def test_is_small_where_calibrated_and_large_where_sure_of_too_much(self):
        logits, labels = sampled(0, n=20_000)
        assert cal.expected_calibration_error(cal.probabilities(logits), labels) < 0.02
        assert cal.expected_calibration_error(cal.probabilities(logits, 0.25), labels) > 0.1

    def test_lies_on_the_diagonal_for_known_probabilities(self):
        p = np.tile([0.7, 0.2, 0.1], (10, 1))
        assert cal.expected_calibration_error(p, [0] * 7 + [1] * 3) == pytest.approx(0.0)
        assert cal.expected_calibration_error(p, [0] * 4 + [1] * 6) == pytest.approx(0.3)


class TestNegativeLogLikelihood:
    def test_agrees_with_scikit_learn(self):
        logits, labels = sampled(1, n=200)
        p = cal.probabilities(logits)
        assert cal.negative_log_likelihood(p, labels) == pytest.approx(log_loss(labels, p, labels=range(4)))

    def test_certain_and_wrong_stays_finite(self):
        assert cal.negative_log_likelihood([[1.0, 0.0]], [1]) == pytest.approx(708.396, abs=0.01)


class TestFitTemperature:
    @pytest.mark.parametrize("true", [0.3, 1.0, 2.5])
    def test_finds_the_temperature_of_the_sample(self, true):
        logits, labels = sampled(2, n=20_000)
        assert cal.fit_temperature(logits * true, labels) == pytest.approx(true, rel=0.04)

    def test_is_the_minimum(self):
        logits, labels = sampled(3, n=300)

        def nll(log_t):
            return cal.negative_log_likelihood(special.softmax(3 * logits / np.exp(log_t), axis=1), labels)

        found = optimize.minimize_scalar(nll, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9})
        assert cal.fit_temperature(3 * logits, labels) == pytest.approx(np.exp(found.x), rel=1e-4)

    def test_does_not_move_with_the_logits_offset(self):
        logits, labels = sampled(4, n=300)
        shifted = logits + np.linspace(-500, 500, 300)[:, None]
        assert cal.fit_temperature(shifted, labels) == pytest.approx(cal.fit_temperature(logits, labels))

    def test_ends_of_the_range(self):
        logits = np.array([[3.0, 0.0], [0.0, 2.0]])
        assert cal.fit_temperature(logits, [0, 1]) == cal.TEMPERATURES[0]
        assert cal.fit_temperature(logits, [1, 0]) == cal.TEMPERATURES[1]
        assert cal.fit_temperature(np.zeros((2, 2)), [1, 0]) in cal.TEMPERATURES

    def test_lowers_test_error_of_an_overconfident_model(self):
        logits, labels = sampled(5)
        valid, test = slice(0, 1000), slice(1000, None)
        temperature = cal.fit_temperature(4 * logits[valid], labels[valid])
        raw, scaled = cal.probabilities(4 * logits[test]), cal.probabilities(4 * logits[test], temperature)
        for measure in (cal.negative_log_likelihood, cal.expected_calibration_error):
            assert measure(scaled, labels[test]) < 0.8 * measure(raw, labels[test])


class TestFidelity:
    student = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    teacher = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 1.0]])

    def test_agreement_by_hand(self):
        labels = [0, 1, 0, 1]  # the teacher is wrong on rows 1 and 2; there the student agrees on row 2 only
        assert cal.agreement(self.student, self.teacher, labels) == cal.Fidelity(0.5, 0.5, 2)
        assert cal.agreement(self.student, self.teacher, [0, 1, 1, 1]) == cal.Fidelity(0.5, 0.0, 1)
        assert cal.agreement(self.student, self.teacher, [0, 0, 1, 1]) == cal.Fidelity(0.5, None, 0)
        assert cal.agreement(self.student, self.teacher) == cal.Fidelity(0.5, None, None)

    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_kl_is_scipys_entropy_of_teacher_given_student(self, temperature):
        s, t = (special.softmax(x / temperature, axis=1) for x in (self.student, self.teacher))
        rows = np.array([stats.entropy(t[i], s[i]) for i in range(4)])
        fidelity = cal.kl_to_teacher(self.student, self.teacher, [0, 1, 1, 1], temperature=temperature)
        assert fidelity.overall == pytest.approx(rows.mean())
        assert fidelity.teacher_wrong == pytest.approx(rows[1])
        assert fidelity.n_teacher_wrong == 1

    def test_kl_of_itself_and_of_extreme_logits(self):
        assert cal.kl_to_teacher(self.teacher, self.teacher + 7).overall == pytest.approx(0, abs=1e-12)
        assert cal.kl_to_teacher([[2000.0, 0.0]], [[0.0, 2000.0]]).overall == pytest.approx(2000)


class TestRefusals:
    def test_logits_in_place_of_probabilities(self):
        with pytest.raises(DataError, match="softmax"):
            cal.expected_calibration_error([[2.0, -1.0]], [0])

    @pytest.mark.parametrize("labels", [[2], [-1], [0, 1], [0.0], [[0]]])
    def test_labels_that_are_no_class_ids(self, labels):
        with pytest.raises(DataError, match="labels"):
            cal.negative_log_likelihood([[0.5, 0.5]], labels)

    def test_rows_that_do_not_match(self):
        with pytest.raises(DataError, match="same rows"):
            cal.agreement(np.zeros((2, 3)), np.zeros((3, 3)))
        with pytest.raises(DataError, match="not finite"):
            cal.fit_temperature([[np.nan, 0.0]], [0])
