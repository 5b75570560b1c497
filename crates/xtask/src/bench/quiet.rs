//! Waiting until the machine has nothing else to do: what runs beside a measurement slows down libraries whose
//! threads wait for each other far more than others, so a ratio from a busy machine says little.

use std::time::{Duration, Instant};

/// How long one look at the machine takes.
const LOOK: Duration = Duration::from_millis(500);
/// The longest wait for a quiet machine.
const WAIT: Duration = Duration::from_secs(20);
/// The share of all processors that may be busy.
const BUSY_MAX: f64 = 0.1;

/// Waits until the machine is quiet; whether it was at the end.
pub fn wait() -> bool {
    let begun = Instant::now();
    loop {
        let Some(before) = processors() else { return true };
        std::thread::sleep(LOOK);
        let Some(after) = processors() else { return true };
        let busy = after.0.saturating_sub(before.0) as f64 / after.1.saturating_sub(before.1).max(1) as f64;
        if busy <= BUSY_MAX {
            return true;
        }
        if begun.elapsed() > WAIT {
            return false;
        }
    }
}

/// Ticks that the processors were busy, and all ticks, since the machine started; nothing where the system does
/// not say.
fn processors() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|number| number.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    // The fourth and fifth are idle, and idle while a disk is waited for.
    Some((all - ticks.get(3)? - ticks.get(4)?, all))
}
