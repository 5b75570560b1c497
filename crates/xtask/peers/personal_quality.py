"""Presidio's pattern recognisers, without a language model, on its own annotated texts.

Run: python personal_quality.py ../shared/data/presidio   (packages: presidio-analyzer)
Prints for each type what crates/personal/examples/personal_quality.rs prints (gold, findings, hits, precision, recall;
a finding is right if it overlaps an annotation of its type), threshold 0.4 (its phones have 0.4), then one JSON line.
"""

import json
import logging
import sys

import tldextract
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NoOpNlpEngine

logging.disable(logging.CRITICAL)
# The list of domains that the package brings along; nothing is fetched.
tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())
NAMES = {"STREET_ADDRESS": "ADDRESS", "DOMAIN_NAME": "URL"}
TYPES = ["CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "URL", "US_DRIVER_LICENSE", "US_SSN"]


def engine():
    return AnalyzerEngine(nlp_engine=NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "no_op"}]), supported_languages=["en"])


def main():
    analyzer = engine()
    report = {}
    for file in ["generated_large.json", "synth_dataset_v2.json"]:
        tally = {name: [0, 0, 0, 0] for name in TYPES}
        for row in json.load(open(f"{sys.argv[1]}/{file}", encoding="utf-8")):
            gold = [
                (NAMES.get(span["entity_type"], span["entity_type"]), span["start_position"], span["end_position"])
                for span in row["spans"]
            ]
            found = analyzer.analyze(text=row["full_text"], language="en", entities=TYPES, score_threshold=THRESHOLD)
            found = [(item.entity_type, item.start, item.end) for item in found]
            meets = lambda one, other: one[0] == other[0] and one[1] < other[2] and other[1] < one[2]
            for span in gold:
                if span[0] in tally:
                    tally[span[0]][0] += 1
                    tally[span[0]][2] += any(meets(item, span) for item in found)
            for item in found:
                tally[item[0]][1] += 1
                tally[item[0]][3] += any(meets(item, span) for span in gold)
        print(f"\n{file}, threshold {THRESHOLD}\n{'type':<28} {'gold':>6} {'found':>6} {'hit':>6}   precis recall")
        for name, (gold, found, hit, right) in tally.items():
            print(f"{name:<28} {gold:>6} {found:>6} {hit:>6}   {right / max(found, 1):6.3f} {hit / max(gold, 1):6.3f}")
        report[file] = tally
    print(json.dumps(report))


THRESHOLD = float(sys.argv[2]) if len(sys.argv) > 2 else 0.4
if __name__ == "__main__":
    main()
