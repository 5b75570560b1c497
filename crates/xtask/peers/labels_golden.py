"""Answers of cleanlab, scikit-learn, statsmodels and krippendorff for crates/labels/tests/golden.

Run: python labels_golden.py  (packages: cleanlab scikit-learn statsmodels krippendorff numpy)

numpy's default sort orders equal keys arbitrarily (differently with and without AVX-512), and cleanlab's
rounding of the confident joint breaks ties by it. So sorts are made stable here: the answers are then
the same on every machine.
"""

import json
import pathlib
import warnings

import krippendorff
import numpy as np
from cleanlab.count import compute_confident_joint, get_confident_thresholds
from cleanlab.filter import find_label_issues
from cleanlab.multilabel_classification.filter import find_label_issues as find_multilabel_issues
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

warnings.filterwarnings("ignore")
argsort = np.argsort
np.argsort = lambda a, axis=-1, kind=None, **rest: argsort(a, axis=axis, kind="stable", **rest)
OUT = pathlib.Path(__file__).parents[2] / "labels" / "tests" / "golden"
FILTERS = ["prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given"]
RANKINGS = ["normalized_margin", "self_confidence"]


def noisy(rng, rows, classes, noise, sharp, priors):
    """Probabilities of an imperfect model, and labels of which a share is wrong."""
    truth = rng.choice(classes, rows, p=priors)
    logits = rng.normal(0, 1, (rows, classes))
    logits[np.arange(rows), truth] += sharp * rng.random(rows)
    p = np.exp(logits)
    p = np.round(p / p.sum(1, keepdims=True), 7)
    labels = truth.copy()
    wrong = rng.random(rows) < noise
    labels[wrong] = rng.integers(0, classes, wrong.sum())
    return labels, p


def confident(name, labels, p):
    case = {"classes": p.shape[1], "labels": labels.tolist(), "probabilities": p.ravel().tolist()}
    case["thresholds"] = get_confident_thresholds(labels, p).tolist()
    case["counts"] = compute_confident_joint(labels, p, calibrate=False).ravel().tolist()
    case["calibrated"] = compute_confident_joint(labels, p).ravel().tolist()
    case["issues"] = {
        f"{by}/{rank}/{share}": find_label_issues(
            labels, p, filter_by=by, return_indices_ranked_by=rank, n_jobs=1, frac_noise=share
        ).tolist()
        for by in FILTERS
        for rank in RANKINGS
        for share in ([1.0, 0.5] if by.startswith("prune") else [1.0])
    }
    return {"name": name, **case}


def multilabel(rng, rows, classes):
    p = np.round(rng.beta(0.4, 0.6, (rows, classes)), 7)
    given = rng.random((rows, classes)) < p
    flips = rng.random((rows, classes)) < 0.05
    given ^= flips
    labels = [np.flatnonzero(row).tolist() for row in given]
    return {
        "classes": classes,
        "labels": labels,
        "probabilities": p.ravel().tolist(),
        "issues": {by: np.flatnonzero(find_multilabel_issues(labels, p, filter_by=by, n_jobs=1)).tolist() for by in FILTERS},
    }


def agreement(rng):
    truth = rng.integers(0, 5, 120)

    def rater(noise):
        return np.where(rng.random(120) < noise, rng.integers(0, 5, 120), truth)

    raters = np.array([rater(0.1), rater(0.3), rater(0.5), rater(0.2)])
    a, b = raters[0], raters[1]
    counts = np.array([[np.sum(raters[:, item] == c) for c in range(5)] for item in range(120)])
    gaps = np.where(rng.random(raters.shape) < 0.25, np.nan, raters + 1.0)
    real = np.where(rng.random(raters.shape) < 0.2, np.nan, np.round(raters * 1.7 + rng.normal(0, 0.4, raters.shape) + 3, 1).clip(0))
    alphas = lambda data: {
        level: krippendorff.alpha(reliability_data=data, level_of_measurement=level)
        for level in ["nominal", "ordinal", "interval", "ratio"]
    }
    units = lambda data: [[None if np.isnan(v) else float(v) for v in column] for column in data.T]
    # The example of Krippendorff 2011, section C.
    n = np.nan
    paper = np.array([
        [1, 2, 3, 3, 2, 1, 4, 1, 2, n, n, n],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, n, 3],
        [n, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, n],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, n],
    ])
    return {
        "first": a.tolist(),
        "second": b.tolist(),
        "cohen": {str(w): cohen_kappa_score(a, b, weights=w) for w in [None, "linear", "quadratic"]},
        "counts": counts.tolist(),
        "fleiss": fleiss_kappa(counts),
        "krippendorff": [{"units": units(d), "alpha": alphas(d)} for d in [gaps, real, paper]],
    }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    skewed = np.array([0.4, 0.25, 0.15, 0.08, 0.05, 0.04, 0.02, 0.01])
    cases = [
        confident("balanced", *noisy(rng, 500, 4, 0.15, 4.0, np.full(4, 0.25))),
        confident("skewed", *noisy(rng, 600, 8, 0.1, 5.0, skewed)),
        confident("binary", *noisy(rng, 300, 2, 0.2, 3.0, np.array([0.7, 0.3]))),
    ]
    labels, p = noisy(rng, 200, 5, 0.1, 4.0, np.array([0.3, 0.3, 0.3, 0.1, 0.0]))
    labels[labels == 4] = 0
    cases.append(confident("a class without rows", labels, p))
    (OUT / "confident.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    (OUT / "multilabel.json").write_text(json.dumps(multilabel(rng, 400, 5), separators=(",", ":")) + "\n")
    (OUT / "agreement.json").write_text(json.dumps(agreement(rng), separators=(",", ":")) + "\n")


main()
