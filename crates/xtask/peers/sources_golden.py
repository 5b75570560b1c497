"""Makes the small files in crates/sources/tests/golden: what other programs write, and what trafilatura
extracts. Needs: reportlab, python-docx, soundfile, numpy, pyarrow, trafilatura, warcio (pip).

    python crates/xtask/peers/sources_golden.py
"""

import io
import lzma
import math
import pathlib

import docx
import numpy
import pyarrow
import pyarrow.feather
import soundfile
import trafilatura
from reportlab.lib.pagesizes import A5
from reportlab.pdfgen import canvas
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "sources" / "tests" / "golden"
PAGES = [
    ["A letter about boats", "", "The keel is laid first, and the ribs stand on it.", "Caf\u00e9 na\u00efve \u2013 quotes \u201chere\u201d."],
    ["Second page", "", "Planks are bent by steam (30 % faster)."],
]


def pdf():
    page = canvas.Canvas(str(GOLDEN / "letter.pdf"), pagesize=A5, invariant=1)
    page.setTitle("A letter")
    page.setAuthor("A. Shipwright")
    for lines in PAGES:
        height = 500
        for line in lines:
            page.setFont("Helvetica", 11)
            if line:
                page.drawString(40, height, line)
            height -= 14
        page.showPage()
    page.save()


def word():
    document = docx.Document()
    document.core_properties.title = "A report"
    document.core_properties.author = "A. Shipwright"
    document.add_heading("A report", 1)
    paragraph = document.add_paragraph("Boats & ships: ")
    paragraph.add_run("bold").bold = True
    paragraph.add_run(" and plain.")
    table = document.add_table(rows=2, cols=2)
    for row, cells in enumerate([["wood", "oak"], ["metal", "iron"]]):
        for column, cell in enumerate(cells):
            table.cell(row, column).text = cell
    document.add_paragraph("\u6a21\u575e: the yard.")
    document.save(GOLDEN / "report.docx")


def sounds():
    rate = 8000
    tone = numpy.array([0.5 * math.sin(2 * math.pi * 440 * index / rate) for index in range(1600)], "float32")
    stereo = numpy.stack([tone, tone], axis=1)
    soundfile.write(GOLDEN / "tone.flac", stereo, rate, "PCM_16")
    soundfile.write(GOLDEN / "tone.ogg", tone, rate)
    soundfile.write(GOLDEN / "tone.mp3", tone, rate)


def packed():
    rows = "".join(f'{{"id": {row}, "text": "row {row}"}}\n' for row in range(20))
    (GOLDEN / "rows.jsonl.xz").write_bytes(lzma.compress(rows.encode()))


def table():
    rows = pyarrow.table({"a": [1, 2], "t": ["x", "y"]})
    pyarrow.feather.write_feather(rows, GOLDEN / "table.feather", compression="zstd")


def archive():
    with open(GOLDEN / "site.warc.gz", "wb") as file:
        writer = WARCWriter(file, gzip=True)
        writer.write_record(writer.create_warcinfo_record("site.warc.gz", {"software": "test"}))
        for url, media_type, body, status in [
            ("http://example.com/a", "text/html; charset=gbk", "<p>\u6a21\u575e\u662f\u8239\u575e\u7684\u610f\u601d\uff0c\u6211\u4eec\u5728\u8fd9\u91cc\u9020\u8239\u3002</p>".encode("gbk"), "200 OK"),
            ("http://example.com/b", "text/html", b"<p>gone</p>", "404 Not Found"),
            ("http://example.com/c.png", "image/png", b"\x89PNG", "200 OK"),
            ("http://example.com/d.txt", "text/plain; charset=utf-8", "plain caf\u00e9".encode(), "200 OK"),
        ]:
            headers = StatusAndHeaders(status, [("Content-Type", media_type)], protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=headers))


def pages():
    for path in sorted(GOLDEN.glob("*.html")):
        text = trafilatura.extract(path.read_text(), include_comments=False, include_tables=True) or ""
        path.with_suffix(".trafilatura.txt").write_text(text + "\n")


GOLDEN.mkdir(parents=True, exist_ok=True)
pdf()
word()
sounds()
packed()
table()
archive()
pages()
