//! How the next token is chosen, and where a completion's text ends.

use crate::error::InferError;
use crate::predict::largest;

/// The most stop texts, and the longest of them in bytes.
const STOPS_MAX: usize = 64;
const STOP_BYTES_MAX: usize = 1024;

/// How a completion is sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// The most tokens of the completion.
    pub max_tokens: usize,
    /// Logits are divided by this; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Only the likeliest tokens that together have this probability are drawn from.
    pub top_p: f32,
    /// Only this many of the likeliest tokens are drawn from; 0 for all.
    pub top_k: usize,
    /// The same seed, prompt and model give the same completion.
    pub seed: u64,
    /// The completion ends before any of these texts.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { max_tokens: 64, temperature: 1.0, top_p: 1.0, top_k: 0, seed: 0, stop: Vec::new() }
    }
}

impl Sampling {
    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// [`InferError::Sampling`] names the first that is not.
    pub fn check(&self) -> Result<(), InferError> {
        let error = |setting, value: String, range| Err(InferError::Sampling { setting, value, range });
        if self.max_tokens == 0 {
            return error("max_tokens", "0".to_owned(), "at least 1");
        }
        if !(0.0..=100.0).contains(&self.temperature) {
            return error("temperature", self.temperature.to_string(), "from 0 to 100");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return error("top_p", self.top_p.to_string(), "above 0 and at most 1");
        }
        if self.stop.len() > STOPS_MAX {
            return error("the number of stop texts", self.stop.len().to_string(), "at most 64");
        }
        if let Some(stop) = self.stop.iter().find(|stop| stop.is_empty() || stop.len() > STOP_BYTES_MAX) {
            return error("the length of a stop text", stop.len().to_string(), "1 to 1024 bytes");
        }
        Ok(())
    }
}

/// Chooses tokens by the settings of one completion.
#[derive(Debug)]
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    top_k: usize,
    random: SplitMix,
}

impl Sampler {
    pub fn new(sampling: &Sampling) -> Self {
        let Sampling { temperature, top_p, top_k, seed, .. } = *sampling;
        Self { temperature, top_p, top_k, random: SplitMix(seed) }
    }

    /// The next token. Among equally likely ones, the one of the lower number comes first.
    pub fn choose(&mut self, logits: &[f32]) -> u32 {
        if self.temperature == 0.0 {
            return largest(logits) as u32;
        }
        let mut candidates: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        let likelier = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.top_k > 0 && self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, likelier);
            candidates.truncate(self.top_k);
        }
        // Subtracting the largest first keeps a low temperature from overflowing.
        let largest = candidates.iter().fold(f32::NEG_INFINITY, |largest, (_, logit)| largest.max(*logit));
        let mut probabilities: Vec<f32> =
            candidates.iter().map(|(_, logit)| (logit - largest) / self.temperature).collect();
        kernels::softmax(&mut probabilities);
        for (candidate, probability) in candidates.iter_mut().zip(probabilities) {
            candidate.1 = probability;
        }
        candidates.sort_unstable_by(likelier);
        self.draw(&candidates)
    }

    /// Draws from candidates in falling order, cut where their sum reaches `top_p`.
    fn draw(&mut self, candidates: &[(u32, f32)]) -> u32 {
        let mut total = 0.0;
        let mut count = 0;
        for (_, probability) in candidates {
            total += f64::from(*probability);
            count += 1;
            if self.top_p < 1.0 && total >= f64::from(self.top_p) {
                break;
            }
        }
        let mut rest = self.random.unit() * total;
        for (token, probability) in &candidates[..count] {
            rest -= f64::from(*probability);
            if rest < 0.0 {
                return *token;
            }
        }
        // Rounding can leave a last sliver; it belongs to the likeliest.
        candidates[0].0
    }
}

/// SplitMix64 (Steele, Lea & Flood 2014): a counter and a mixing function; any seed is good.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Lets text through until a stop text is complete; what might become one is held back.
#[derive(Debug)]
pub(crate) struct StopFilter<'a> {
    stops: &'a [String],
    held: String,
}

impl<'a> StopFilter<'a> {
    pub fn new(stops: &'a [String]) -> Self {
        Self { stops, held: String::new() }
    }

    /// Adds text: gives what is certain now, and whether a stop text was reached. Text is looked at
    /// character by character, so that pieces make no difference.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        let mut certain = String::new();
        for character in text.chars() {
            self.held.push(character);
            let complete = self.stops.iter().filter(|stop| self.held.ends_with(stop.as_str())).map(String::len).max();
            if let Some(length) = complete {
                certain.push_str(&self.held[..self.held.len() - length]);
                self.held.clear();
                return (certain, true);
            }
            let keep = self.begun();
            certain.extend(self.held.drain(..self.held.len() - keep));
        }
        (certain, false)
    }

    /// What was held back, once no more text will come.
    pub fn finish(self) -> String {
        self.held
    }

    /// The length of the longest end of the held text that begins a stop text.
    fn begun(&self) -> usize {
        self.held
            .char_indices()
            .map(|(start, _)| &self.held[start..])
            .find(|end| self.stops.iter().any(|stop| stop.starts_with(end)))
            .map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splitmix_gives_the_published_sequence() {
        // The reference implementation (Vigna, splitmix64.c) with the seed 1234567.
        let mut random = SplitMix(1_234_567);
        let found = [random.next(), random.next(), random.next()];
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn greedy_takes_the_first_of_the_likeliest() {
        let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_eq!(Sampler::new(&sampling).choose(&[1.0, 3.0, 3.0, -9.0]), 1);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        // exp(ln 6) : exp(ln 3) : exp(ln 1) is 0.6 : 0.3 : 0.1.
        let logits = [3.0_f32.ln(), 6.0_f32.ln(), 0.0];
        let mut counts = [0_u32; 3];
        let mut sampler = Sampler::new(&Sampling { seed: 5, ..Sampling::default() });
        for _ in 0..20_000 {
            counts[sampler.choose(&logits) as usize] += 1;
        }
        // Four standard deviations of a binomial with n = 20,000.
        for (count, share) in counts.iter().zip([0.3, 0.6, 0.1]) {
            let deviation = (20_000.0 * share * (1.0_f64 - share)).sqrt();
            assert!((f64::from(*count) - 20_000.0 * share).abs() < 4.0 * deviation, "{counts:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.0, 5.0, 4.9, -1.0, 4.8];
        for (settings, allowed) in [
            (Sampling { top_k: 2, ..Sampling::default() }, &[1_u32, 2][..]),
            (Sampling { top_p: 0.3, ..Sampling::default() }, &[1][..]),
            (Sampling { top_p: 0.6, ..Sampling::default() }, &[1, 2][..]),
        ] {
            let mut sampler = Sampler::new(&settings);
            let drawn: std::collections::BTreeSet<u32> = (0..500).map(|_| sampler.choose(&logits)).collect();
            assert_eq!(drawn.into_iter().collect::<Vec<_>>(), allowed, "{settings:?}");
        }
    }

    #[test]
    fn a_tiny_temperature_is_greedy() {
        let mut sampler = Sampler::new(&Sampling { temperature: 1e-30, ..Sampling::default() });
        assert_eq!(sampler.choose(&[1.0, 3e38, -3e38]), 1);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = [
            Sampling { temperature: f32::NAN, ..Sampling::default() },
            Sampling { temperature: -1.0, ..Sampling::default() },
            Sampling { top_p: 0.0, ..Sampling::default() },
            Sampling { top_p: 1.5, ..Sampling::default() },
            Sampling { max_tokens: 0, ..Sampling::default() },
            Sampling { stop: vec![String::new()], ..Sampling::default() },
            Sampling { stop: vec!["x".to_owned(); 65], ..Sampling::default() },
        ];
        assert!(wrong.iter().all(|sampling| sampling.check().is_err()));
        assert!(Sampling::default().check().is_ok());
    }

    #[test]
    fn half_a_stop_text_is_held_back() {
        let stops = ["\n\n".to_owned(), "END".to_owned()];
        let mut filter = StopFilter::new(&stops);
        assert_eq!(filter.push("one E"), ("one ".to_owned(), false));
        assert_eq!(filter.push("N"), (String::new(), false));
        assert_eq!(filter.push("TRY\n"), ("ENTRY".to_owned(), false));
        assert_eq!(filter.push("x\n\nmore"), ("\nx".to_owned(), true));
        let mut filter = StopFilter::new(&stops);
        assert_eq!(filter.push("an EN"), ("an ".to_owned(), false));
        assert_eq!(filter.finish(), "EN");
    }

    proptest! {
        /// Cutting the text anywhere changes nothing, and no stop text ever comes out.
        #[test]
        fn pieces_make_no_difference(
            text in "[ab天]{0,30}",
            stops in proptest::collection::vec("[ab天]{1,4}", 0..4),
            cuts in proptest::collection::vec(1_usize..5, 0..30),
        ) {
            let mut whole = StopFilter::new(&stops);
            let (mut expected, stopped) = whole.push(&text);
            if !stopped {
                expected.push_str(&whole.finish());
            }
            let mut filter = StopFilter::new(&stops);
            let (mut found, mut ended) = (String::new(), false);
            let characters: Vec<char> = text.chars().collect();
            let mut rest = characters.as_slice();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, others) = rest.split_at(cut.min(rest.len()));
                rest = others;
                if !ended {
                    let (certain, stop) = filter.push(&piece.iter().collect::<String>());
                    found.push_str(&certain);
                    ended = stop;
                }
            }
            if !ended {
                found.push_str(&filter.finish());
            }
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(ended, stopped);
            prop_assert!(stops.iter().all(|stop| !found.contains(stop.as_str())));
            prop_assert_eq!(stopped, stops.iter().any(|stop| text.contains(stop.as_str())));
        }
    }
}
