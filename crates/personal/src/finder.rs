//! The way through a text: one pass over bytes that can begin something, one over three bytes at a time for words and prefixes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::anchors::{Action, Anchors};
use crate::bytes::{run_end, run_start};
use crate::context::Contexts;
use crate::error::PersonalError;
use crate::finding::{Finding, resolve};
use crate::kind::{Kind, KindSet};
use crate::network::{Domains, IpScope};
use crate::rules::Rules;
use crate::scan::Scan;
use crate::{address, china, dates, money, names, network, phone, placeholder, secret_forms, secrets};

/// What to look for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinderConfig {
    /// The kinds to look for; none means those that are on by default ([`Kind::is_default`]).
    pub kinds: Option<Vec<Kind>>,
    /// Kinds to look for besides.
    pub also: Vec<Kind>,
    /// Kinds not to look for.
    pub except: Vec<Kind>,
    /// The least score that is reported, from 0 to 1; see [`Finding::score`].
    pub score_min: f32,
    /// True leaves private, loopback, link-local, documentation and multicast addresses alone.
    pub public_ip_only: bool,
    /// Values that are never reported, exactly as written: a company's own hotline, `info@example.com`.
    pub allow: Vec<String>,
}

impl Default for FinderConfig {
    fn default() -> Self {
        Self {
            kinds: None,
            also: Vec::new(),
            except: Vec::new(),
            score_min: 0.5,
            public_ip_only: true,
            allow: Vec::new(),
        }
    }
}

impl FinderConfig {
    /// Builds the tables once; the finder is then used for any number of texts and threads.
    ///
    /// # Errors
    ///
    /// [`PersonalError::Threshold`] if the threshold is no number from 0 to 1.
    pub fn plan(&self) -> Result<Finder, PersonalError> {
        if !(0.0..=1.0).contains(&self.score_min) {
            return Err(PersonalError::Threshold { score_min: self.score_min });
        }
        let chosen = self.kinds.as_ref().map_or_else(KindSet::defaults, |kinds| kinds.iter().copied().collect());
        let chosen = self.also.iter().copied().fold(chosen, KindSet::with);
        let kinds = self.except.iter().copied().fold(chosen, KindSet::without);
        Ok(Finder {
            kinds,
            score_min: self.score_min,
            scope: IpScope { public_only: self.public_ip_only },
            allow: self.allow.iter().cloned().collect(),
            starts: starts(kinds),
            rules: Rules::new(kinds),
            contexts: Contexts::new(),
            domains: Domains::new(),
            anchors: Anchors::new(kinds),
        })
    }
}

/// Finds personal data and secrets in texts. Made by [`FinderConfig::plan`]; `Sync`, so one serves all threads.
pub struct Finder {
    kinds: KindSet,
    score_min: f32,
    scope: IpScope,
    allow: HashSet<String>,
    /// True for bytes at which something wanted can begin or be told.
    starts: [bool; 256],
    rules: Rules,
    contexts: Contexts,
    domains: Domains,
    anchors: Anchors,
}

impl std::fmt::Debug for Finder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finder").field("kinds", &self.kinds).field("score_min", &self.score_min).finish_non_exhaustive()
    }
}

/// The bytes that lead to the wanted kinds.
fn starts(kinds: KindSet) -> [bool; 256] {
    let mut starts = [false; 256];
    let wants = |list: &[Kind]| list.iter().any(|kind| kinds.contains(*kind));
    starts[usize::from(b'@')] = wants(&[Kind::Email]);
    starts[usize::from(b':')] = wants(&[Kind::IpAddress, Kind::MacAddress, Kind::Url, Kind::ConnectionString]);
    starts[usize::from(b'-')] = wants(&[Kind::MacAddress]);
    starts[usize::from(b'.')] = wants(&[Kind::MacAddress, Kind::Url]);
    for digit in b'0'..=b'9' {
        starts[usize::from(digit)] = true;
    }
    starts
}

impl Finder {
    /// The kinds that are looked for.
    #[must_use]
    pub const fn kinds(&self) -> KindSet {
        self.kinds
    }

    /// The findings in a text, in order, without overlaps, on character borders. Placeholders that this crate writes
    /// (`[EMAIL]`, `<EMAIL_1>`, `<EMAIL:…>`) are never findings.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<Finding> {
        let mut scan = Scan::new(text, self.kinds, self.score_min, &self.contexts);
        self.scan_bytes(&mut scan);
        self.scan_anchors(&mut scan);
        let mut findings = scan.findings;
        findings.retain(|found| self.is_reported(text, found));
        resolve(&mut findings);
        findings
    }

    fn is_reported(&self, text: &str, found: &Finding) -> bool {
        let Some(value) = text.get(found.start..found.end) else { return false };
        (self.allow.is_empty() || !self.allow.contains(value))
            && !placeholder::overlaps(text.as_bytes(), found.start, found.end)
    }

    fn scan_bytes(&self, scan: &mut Scan<'_>) {
        let text = scan.text;
        // Nothing before this is looked at again as a run.
        let mut floor = 0;
        let mut at = 0;
        while let Some(skip) = text[at..].iter().position(|byte| self.starts[usize::from(*byte)]) {
            at += skip;
            match text[at] {
                b'@' => network::email(scan, &self.domains, at),
                b'-' => network::hyphen(scan, at),
                b'.' => network::dot(scan, &self.domains, at),
                b':' if text[at..].starts_with(b"://") => {
                    if scan.wants(Kind::Url) {
                        network::url(scan, &self.domains, at);
                    }
                    if scan.wants(Kind::ConnectionString) {
                        secrets::connection(scan, at);
                    }
                    at += 2;
                }
                b':' => {
                    // Digits inside are seen again as runs of their own: an address may end in an IPv4 one.
                    let next = network::colon(scan, self.scope, at);
                    at = self.skip_colons(scan, at, next, &mut floor);
                    continue;
                }
                _ => {
                    let start = run_start(text, at, floor);
                    let end = run_end(text, at);
                    self.at_run(scan, start, end, floor);
                    floor = end;
                    at = end;
                    continue;
                }
            }
            at += 1;
        }
    }

    /// Goes over the runs with digits between colons without asking at each colon again.
    fn skip_colons(&self, scan: &mut Scan<'_>, colon: usize, end: usize, floor: &mut usize) -> usize {
        let text = scan.text;
        let mut at = colon + 1;
        while at < end {
            if text[at].is_ascii_digit() {
                let start = run_start(text, at, (*floor).max(colon + 1));
                let to = run_end(text, at);
                self.at_run(scan, start, to, *floor);
                *floor = to;
                at = to;
            } else {
                at += 1;
            }
        }
        at
    }

    /// Everything that can begin at a run of letters and digits with a digit in it.
    fn at_run(&self, scan: &mut Scan<'_>, start: usize, end: usize, floor: usize) {
        let text = scan.text;
        self.rules.at_run(scan, start, end, floor);
        if scan.wants(Kind::CnVehicleRegistration) && matches!(end - start, 5..=7) {
            china::plate(scan, start, end);
        }
        if text[start].is_ascii_digit() {
            if text[start..end].iter().all(u8::is_ascii_digit) {
                self.at_number(scan, start, end);
            } else {
                self.at_mixed(scan, start, end);
            }
            if self.kinds.contains(Kind::DateOfBirth) || self.kinds.contains(Kind::DateTime) {
                dates::date(scan, start, end);
            }
        } else {
            money::iban(scan, start, end);
        }
        if end - start >= 25 && scan.wants(Kind::Crypto) {
            money::wallet(scan, start, end);
        }
        if end - start <= 6 && scan.wants(Kind::Address) {
            address::address(scan, start, end);
        }
    }

    /// What can begin at a run of digits only.
    fn at_number(&self, scan: &mut Scan<'_>, start: usize, end: usize) {
        if scan.wants(Kind::IpAddress) {
            network::ipv4(scan, self.scope, start, end);
        }
        if scan.wants(Kind::Phone) {
            phone::phone(scan, start, end);
        }
        phone::national(scan, start, end);
        if scan.wants(Kind::CreditCard) || scan.wants(Kind::CnBankCard) {
            money::card(scan, start, end);
        }
        if scan.wants(Kind::Coordinates) {
            dates::coordinates(scan, start, end);
        }
    }

    /// What can begin at digits that letters follow: an extension such as `5550100x12`.
    fn at_mixed(&self, scan: &mut Scan<'_>, start: usize, end: usize) {
        let digits = start + scan.text[start..end].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if scan.wants(Kind::Phone) && digits - start >= 3 && matches!(scan.text[digits], b'x' | b'e') {
            phone::phone(scan, start, digits);
        }
    }

    fn scan_anchors(&self, scan: &mut Scan<'_>) {
        self.anchors.each(scan.text, |at, after, action| match action {
            Action::Token(index) => secrets::token(scan, &secret_forms::FORMS[index], at, after),
            Action::WebToken => secrets::web_token(scan, at),
            Action::Armour => secrets::armour(scan, at),
            Action::Named(word) => secrets::named(scan, word, after),
            Action::Person(anchor) => names::person(scan, anchor, at, after),
        });
    }
}
