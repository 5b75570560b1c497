"""cleanlab and scikit-learn on what crates/labels/examples/labels_speed.rs wrote.

Run: python labels_speed.py DUMP BANKING_FOLDER  (packages: cleanlab scikit-learn numpy)
Prints one JSON line: the same issues found by cleanlab on the same probabilities (and with stable
sorts, since numpy's default sort orders equal keys arbitrarily), and the time of scikit-learn's
cross-validated TF-IDF + logistic regression on one thread.
"""

import csv
import json
import os
import sys
import time

for variable in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]:
    os.environ[variable] = "1"
import warnings

import numpy as np
from cleanlab.filter import find_label_issues
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

warnings.filterwarnings("ignore")


def figures(labels, truth, issues):
    hits = (labels != truth)[issues].sum()
    return {
        "issues": len(issues),
        "precision": round(float(hits / max(len(issues), 1)), 4),
        "recall": round(float(hits / (labels != truth).sum()), 4),
    }


def main():
    raw = open(sys.argv[1], "rb").read()
    rows, classes = np.frombuffer(raw, "<u8", 2)
    labels = np.frombuffer(raw, "<u8", rows, 16).astype(int)
    truth = np.frombuffer(raw, "<u8", rows, 16 + 8 * rows).astype(int)
    p = np.frombuffer(raw, "<f8", rows * classes, 16 + 16 * rows).reshape(rows, classes)
    result = {}
    for stable in [False, True]:
        plain = np.argsort
        if stable:
            np.argsort = lambda a, axis=-1, kind=None, **rest: plain(a, axis=axis, kind="stable", **rest)
        for by in ["prune_by_noise_rate", "both", "confident_learning"]:
            begin = time.perf_counter()
            issues = find_label_issues(labels, p, filter_by=by, return_indices_ranked_by="normalized_margin", n_jobs=1)
            took = time.perf_counter() - begin
            key = by + ("/stable" if stable else "")
            result[key] = {**figures(labels, truth, issues), "seconds": round(took, 4), "sum": int(np.sum(issues * (1 + np.arange(len(issues)))))}
        np.argsort = plain
    if len(sys.argv) > 2:
        texts = [row["text"] for name in ["train", "test"] for row in csv.DictReader(open(f"{sys.argv[2]}/{name}.csv", encoding="utf-8"))]
        begin = time.perf_counter()
        model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(C=10, max_iter=200))
        q = cross_val_predict(model, texts, labels, cv=5, method="predict_proba")
        result["scikit_learn_seconds"] = round(time.perf_counter() - begin, 2)
        result["scikit_learn_accuracy"] = round(float((q.argmax(1) == truth).mean()), 4)
        issues = find_label_issues(labels, q, return_indices_ranked_by="normalized_margin", n_jobs=1)
        result["scikit_learn_prune_by_noise_rate"] = figures(labels, truth, issues)
    print(json.dumps(result))


main()
