"""Fixtures and answers of scikit-learn, numpy and scipy for crates/tables/tests/golden.

Run: python tables_golden.py  (packages: scikit-learn numpy scipy)
Iris, wine and breast cancer are scikit-learn's copies of the UCI data sets (CC BY 4.0).
"""

import json
import pathlib

import numpy as np
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import IsolationForest

OUT = pathlib.Path(__file__).parents[2] / "tables" / "tests" / "golden"


def write(name, data):
    names = [str(n).replace(",", "") for n in data.feature_names] + ["class"]
    lines = [",".join(names)]
    for row, label in zip(data.data, data.target):
        lines.append(",".join([repr(float(v)) for v in row] + [str(data.target_names[label])]))
    (OUT / f"{name}.csv").write_text("\n".join(lines) + "\n")


def robust(values):
    median = np.median(values)
    q1, q3 = np.percentile(values, [25, 75])
    mad = np.median(np.abs(values - median))
    return {
        "median": median,
        "mad": mad,
        "quartile_1": q1,
        "quartile_3": q3,
        "beyond_z": np.flatnonzero(0.6745 * np.abs(values - median) / mad > 3.5).tolist(),
        "beyond_fences": np.flatnonzero((values < q1 - 3 * (q3 - q1)) | (values > q3 + 3 * (q3 - q1))).tolist(),
    }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    cancer = load_breast_cancer()
    write("iris", load_iris())
    write("wine", load_wine())
    write("breast_cancer", cancer)
    forests = [IsolationForest(n_estimators=100, max_samples=256, random_state=seed).fit(cancer.data) for seed in range(20)]
    scores = np.array([-forest.score_samples(cancer.data) for forest in forests])
    between = [stats.spearmanr(scores[i], scores[j])[0] for i in range(20) for j in range(i)]
    counts, shares = [30, 14, 34, 45, 57, 20], [0.1, 0.1, 0.2, 0.2, 0.3, 0.1]
    chi = stats.chisquare(counts, np.array(shares) * sum(counts))
    golden = {
        "columns": {str(n): robust(cancer.data[:, i]) for i, n in enumerate(cancer.feature_names)},
        "isolation": {
            "mean_scores": np.round(scores.mean(0), 6).tolist(),
            "spearman_between_seeds_min": min(between),
        },
        "chi_square": {"counts": counts, "shares": shares, "statistic": chi.statistic, "p": chi.pvalue},
    }
    (OUT / "answers.json").write_text(json.dumps(golden) + "\n")
    print({"spearman between seeds": (min(between), float(np.mean(between)))})


main()
