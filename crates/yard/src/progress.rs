//! The ways of showing progress: bars on a terminal, plain lines elsewhere, JSON lines, nothing.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::progress::{Progress, Task};
use base::units;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::{Value as Json, json};

/// Bars on standard error.
pub struct Bars {
    all: MultiProgress,
}

impl Bars {
    pub fn new() -> Self {
        Self { all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(12)) }
    }
}

impl Progress for Bars {
    fn begin(&self, label: &str, total: Option<u64>, unit: &str) -> Box<dyn Task> {
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let bar = self.all.add(bar);
        let unit = unit.to_owned();
        let counted = unit.clone();
        let template = if total.is_some() {
            "{prefix:<10} {bar:30.cyan/blue} {percent:>3} %  {counted}  {rate}  {eta} left  {msg}"
        } else {
            "{prefix:<10} {spinner} {counted}  {rate}  {elapsed}  {msg}"
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style
            .with_key("counted", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let total = state.len().map_or(String::new(), |total| format!("/{}", units::count(total)));
                let _ = write!(out, "{}{total} {counted}", units::count(state.pos()));
            })
            .with_key("rate", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}", rate(state.per_sec(), &unit));
            });
        bar.set_style(style);
        bar.set_prefix(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        Box::new(Bar(bar))
    }

    fn note(&self, line: &str) {
        // A terminal that went away is no reason to stop working.
        let _ = self.all.println(format!("{:<10} {line}", ""));
    }
}

struct Bar(ProgressBar);

impl Task for Bar {
    fn at(&self, position: u64) {
        self.0.set_position(position);
    }
    fn say(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }
    fn end(self: Box<Self>, _text: &str) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// `1,203 rows/s`, or with one decimal below ten.
fn rate(per_second: f64, unit: &str) -> String {
    if per_second >= 10.0 {
        let whole = per_second.round() as u64;
        format!("{} {unit}/s", units::count(whole))
    } else {
        format!("{per_second:.1} {unit}/s")
    }
}

/// A line at most every five seconds, on standard error.
pub struct Lines;

impl Progress for Lines {
    fn begin(&self, label: &str, total: Option<u64>, unit: &str) -> Box<dyn Task> {
        Box::new(Counted::new(label, total, unit, Duration::from_secs(5), |state, _| {
            let _ = writeln!(std::io::stderr(), "{}", state.line());
        }))
    }

    fn note(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// JSON lines on standard output, at most two a second for each task.
pub struct JsonLines;

impl Progress for JsonLines {
    fn begin(&self, label: &str, total: Option<u64>, unit: &str) -> Box<dyn Task> {
        emit(&json!({ "event": "begin", "task": label, "total": total, "unit": unit }));
        Box::new(Counted::new(label, total, unit, Duration::from_millis(500), |state, ended| {
            emit(&json!({
                "event": if ended { "end" } else { "progress" }, "task": state.label, "position": state.position,
                "total": state.total, "unit": state.unit, "per_second": state.per_second(),
                "seconds_left": state.seconds_left(), "text": state.text,
            }));
        }))
    }

    fn note(&self, line: &str) {
        emit(&json!({ "event": "note", "text": line }));
    }
}

/// Writes one JSON line to standard output.
pub fn emit(line: &Json) {
    // A reader that closed the pipe is no reason to stop working.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Nothing at all.
pub use base::progress::Silent;

/// What a line about a task needs.
struct State {
    label: String,
    unit: String,
    total: Option<u64>,
    position: u64,
    seconds: f64,
    text: String,
}

impl State {
    fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.position as f64 / self.seconds } else { 0.0 }
    }

    fn seconds_left(&self) -> Option<f64> {
        let left = self.total?.saturating_sub(self.position) as f64;
        (self.position > 0).then(|| left / self.per_second())
    }

    fn line(&self) -> String {
        let total = self.total.map_or(String::new(), |total| format!("/{}", units::count(total)));
        let left = self.seconds_left().map_or(String::new(), |s| format!(", {} left", units::seconds(s)));
        let rate = rate(self.per_second(), &self.unit);
        let line = format!(
            "{}: {}{total} {}, {rate}{left}  {}",
            self.label,
            units::count(self.position),
            self.unit,
            self.text
        );
        line.trim_end().to_owned()
    }
}

type Tell = fn(&State, bool);

/// A task that tells of itself at most once an interval, and, where it took longer than that, when
/// it ends.
struct Counted {
    label: String,
    unit: String,
    total: Option<u64>,
    position: AtomicU64,
    text: Mutex<String>,
    begun: Instant,
    told: Mutex<Instant>,
    every: Duration,
    tell: Tell,
}

impl Counted {
    fn new(label: &str, total: Option<u64>, unit: &str, every: Duration, tell: Tell) -> Self {
        Self {
            label: label.to_owned(),
            unit: unit.to_owned(),
            total,
            position: AtomicU64::new(0),
            text: Mutex::default(),
            begun: Instant::now(),
            told: Mutex::new(Instant::now()),
            every,
            tell,
        }
    }

    fn state(&self) -> State {
        State {
            label: self.label.clone(),
            unit: self.unit.clone(),
            total: self.total,
            position: self.position.load(Ordering::Relaxed),
            seconds: self.begun.elapsed().as_secs_f64(),
            text: self.text.lock().map(|text| text.clone()).unwrap_or_default(),
        }
    }

    fn tell_if_due(&self) {
        let Ok(mut told) = self.told.lock() else { return };
        if told.elapsed() >= self.every {
            *told = Instant::now();
            (self.tell)(&self.state(), false);
        }
    }
}

impl Task for Counted {
    fn at(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
        self.tell_if_due();
    }

    fn say(&self, text: &str) {
        if let Ok(mut held) = self.text.lock() {
            text.clone_into(&mut held);
        }
        self.tell_if_due();
    }

    fn end(self: Box<Self>, text: &str) {
        if !text.is_empty()
            && let Ok(mut held) = self.text.lock()
        {
            text.clone_into(&mut held);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.begun.elapsed() >= Duration::from_secs(1) {
            (self.tell)(&self.state(), true);
        }
    }
}
