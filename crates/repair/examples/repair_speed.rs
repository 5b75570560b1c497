//! How fast text is repaired, line by line on one core: `repair_speed FILE [default|chinese|s2twp|...]`, the last
//! being conversions between Chinese scripts by OpenCC's names. Prints one JSON line; `checksum` (FNV-1a of
//! the repaired text) equals the peer's for the default and for conversions.

use std::io::Write;
use std::time::Instant;

use repair::{RepairConfig, repair};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: repair_speed FILE [default|chinese|s2twp|...]")?;
    let config = match std::env::args().nth(2).as_deref() {
        None | Some("default") => RepairConfig::default(),
        Some("chinese") => RepairConfig::chinese(),
        Some(script) => {
            RepairConfig { chinese: Some(serde_json::from_value(script.into())?), ..RepairConfig::nothing() }
        }
    };
    let text = String::from_utf8(std::fs::read(path)?)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut seconds = Vec::new();
    let (mut checksum, mut changed) = (0, 0);
    for _ in 0..5 {
        let start = Instant::now();
        let repaired: Vec<_> = lines.iter().map(|line| repair(line, &config)).collect();
        seconds.push(start.elapsed().as_secs_f64());
        changed = repaired.iter().filter(|line| !line.changes.is_empty()).count();
        checksum = repaired
            .iter()
            .flat_map(|line| line.text.bytes())
            .fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    }
    seconds.sort_by(f64::total_cmp);
    let start = Instant::now();
    let whole = repair(&text, &config);
    let whole_seconds = start.elapsed().as_secs_f64();
    let megabytes = text.len() as f64 / 1e6;
    writeln!(
        std::io::stdout(),
        r#"{{"mb_per_second":{:.1},"mb_per_second_whole":{:.1},"megabytes":{megabytes:.2},"lines":{},"changed":{changed},"kinds":{},"checksum":"{checksum:016x}"}}"#,
        megabytes / seconds[2],
        megabytes / whole_seconds,
        lines.len(),
        whole.changes.len(),
    )?;
    Ok(())
}
