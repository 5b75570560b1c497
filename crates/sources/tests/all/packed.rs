use std::io::Write as _;

use sources::{Config, Reason};
use zip::write::SimpleFileOptions;

use crate::{golden, read_bytes, read_path};

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(crate) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        // `set_path` refuses the names that a hostile archive has.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn every_compression_is_taken_off() {
    let rows = b"{\"a\":1}\n{\"a\":2}\n";
    let zstd = zstd::encode_all(&rows[..], 3).unwrap();
    let two = [gzip(&rows[..8]), gzip(&rows[8..])].concat();
    for (name, bytes) in [
        ("a.jsonl.gz", gzip(rows)),
        ("members.jsonl.gz", two),
        ("a.jsonl.zst", zstd.clone()),
        (
            "frames.jsonl.zst",
            [zstd::encode_all(&rows[..8], 3).unwrap(), zstd::encode_all(&rows[8..], 3).unwrap()].concat(),
        ),
        ("misnamed.jsonl", zstd),
    ] {
        let given = read_bytes(name, &bytes, &Config::default());
        assert_eq!((given.rows().len(), given.damaged().len()), (2, 0), "{name}");
        assert_eq!(given.counts.bytes_read, bytes.len() as u64, "{name}");
    }
    let given = read_path(&golden("rows.jsonl.xz"), &Config::default());
    assert_eq!((given.rows().len(), given.damaged().len()), (20, 0));
}

#[test]
fn members_are_read_where_they_lie() {
    let inner = zip(&[("deep/c.csv", b"h\n1\n")]);
    let members: Vec<(&str, &[u8])> = vec![
        ("a.csv", b"h\n1\n2\n"),
        ("b/b.jsonl", b"{\"x\":1}"),
        ("in.zip", &inner),
        ("__MACOSX/x", b"y"),
        ("junk.csv", b"h\n1,2\n"),
    ];
    for (name, bytes) in [("a.zip", zip(&members)), ("a.tar", tar(&members)), ("a.tgz", gzip(&tar(&members)))] {
        let given = read_bytes(name, &bytes, &Config::default());
        let places: Vec<String> =
            given.places().iter().map(|place| place.split_once('!').unwrap().1.to_owned()).collect();
        assert_eq!(places, ["a.csv:2", "a.csv:3", "b/b.jsonl:1", "in.zip!deep/c.csv:2"], "{name}");
        assert_eq!(given.damaged().iter().map(|(_, reason)| *reason).collect::<Vec<_>>(), [Reason::Ragged]);
        assert_eq!(given.notes(), [("skipped", 1)]);
    }
}

#[test]
fn parquet_inside_archives_is_read_out_of_order() {
    let parquet = crate::formats::parquet_bytes();
    for spool_memory_bytes in [0, 1 << 20] {
        let config = Config { spool_memory_bytes, ..Config::default() };
        let given = read_bytes("a.tar.gz", &gzip(&tar(&[("t.parquet", &parquet)])), &config);
        assert_eq!((given.rows().len(), given.damaged().len()), (3, 0));
    }
}

#[test]
fn hostile_members_are_entries() {
    for bytes in
        [zip(&[("../../etc/passwd", b"x"), ("ok.txt", b"y")]), tar(&[("../../etc/passwd", b"x"), ("ok.txt", b"y")])]
    {
        let given = read_bytes("a", &bytes, &Config::default());
        assert_eq!(given.damaged()[0].1, Reason::UnsafeName);
        assert_eq!(given.texts(), ["y"]);
    }
    for name in ["/absolute", "a/../../b", "C:\\x"] {
        let given = read_bytes("a.tar", &tar(&[(name, b"x")]), &Config::default());
        assert_eq!(given.damaged()[0].1, Reason::UnsafeName, "{name}");
    }
}

#[test]
fn bombs_nests_and_crowds_stop_at_their_limits() {
    let zeros = gzip(&vec![0; 80 << 20]);
    let given = read_bytes("a.jsonl.gz", &zeros, &Config::default());
    assert_eq!(given.damaged()[0].1, Reason::Bomb);
    let given = read_bytes("a.zip", &zip(&[("z.jsonl", &vec![b'\n'; 80 << 20]), ("ok.txt", b"y")]), &Config::default());
    assert_eq!(given.damaged()[0].1, Reason::Bomb);
    assert_eq!(given.texts(), ["y"]);

    let mut nest = b"x".to_vec();
    for _ in 0..4 {
        nest = gzip(&nest);
    }
    assert_eq!(read_bytes("a.gz", &nest, &Config::default()).damaged()[0].1, Reason::TooDeep);

    let crowd = tar(&[("1.txt", b"x"), ("2.txt", b"x"), ("3.txt", b"x")]);
    let config = Config { members_max: 2, ..Config::default() };
    let given = read_bytes("a.tar", &crowd, &config);
    assert_eq!((given.texts().len(), given.damaged()[0].1), (2, Reason::TooMany));
    let config = Config { member_bytes_max: 3, ..Config::default() };
    let given = read_bytes("a.tar", &tar(&[("1.txt", b"four"), ("2.txt", b"3")]), &config);
    assert_eq!((given.texts(), given.damaged()[0].1), (vec!["3"], Reason::TooLarge));
    let config = Config { expanded_bytes_max: 100, ..Config::default() };
    let given = read_bytes("a.txt.gz", &gzip(&[b'x'; 1000]), &config);
    assert_eq!(given.damaged()[0].1, Reason::Bomb);
}

#[test]
fn a_cut_stream_gives_what_came_before() {
    // Bytes that gzip cannot make smaller, so that half of them is half of the rows.
    let mut state = 1_u64;
    let rows: String = (0..2000)
        .map(|row| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{{\"row\":{row},\"noise\":\"{state:x}\"}}\n")
        })
        .collect();
    let packed = gzip(rows.as_bytes());
    let given = read_bytes("a.jsonl.gz", &packed[..packed.len() / 2], &Config::default());
    let count = given.rows().len();
    assert!((500..1500).contains(&count), "{count}");
    let damaged = given.damaged();
    assert_eq!((damaged.len(), damaged[0].1), (1, Reason::Truncated));
}
