//! How the next token is chosen, and where a completion's text ends.

use std::collections::BTreeMap;

use crate::error::InferError;
use crate::predict::largest;

/// The most stop texts, and the longest of them in bytes.
const STOPS_MAX: usize = 64;
const STOP_BYTES_MAX: usize = 1024;
/// The most likeliest tokens that are told.
const LOGPROBS_MAX: usize = 20;

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
    /// Only tokens with this part of the likeliest one's probability are drawn from; 0 for all.
    pub min_p: f32,
    /// Positive logits of tokens that stand in the prompt or the completion are divided by this, others multiplied
    /// (Keskar et al. 2019); 1 for none.
    pub repetition_penalty: f32,
    /// Taken from the logit of every token that stands in the completion.
    pub presence_penalty: f32,
    /// Taken from the logit of a token for each time that it stands in the completion.
    pub frequency_penalty: f32,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// The log-probability of each token is told, and of so many of the likeliest ones; they are the model's own, before
    /// any of the settings here.
    pub logprobs: Option<usize>,
    /// The same seed, prompt and model give the same completion.
    pub seed: u64,
    /// The completion ends before any of these texts.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            max_tokens: 64,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            logprobs: None,
            seed: 0,
            stop: Vec::new(),
        }
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
        if !(0.0..=1.0).contains(&self.min_p) {
            return error("min_p", self.min_p.to_string(), "from 0 to 1");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty <= 100.0) {
            return error("repetition_penalty", self.repetition_penalty.to_string(), "above 0 and at most 100");
        }
        for (setting, value) in
            [("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)]
        {
            if !(-100.0..=100.0).contains(&value) {
                return error(setting, value.to_string(), "from -100 to 100");
            }
        }
        if let Some((_, bias)) = self.logit_bias.iter().find(|(_, bias)| !(-100.0..=100.0).contains(bias)) {
            return error("a bias of logit_bias", bias.to_string(), "from -100 to 100");
        }
        if let Some(count) = self.logprobs.filter(|count| *count > LOGPROBS_MAX) {
            return error("logprobs", count.to_string(), "at most 20");
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

/// A token with its log-probability in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogProbability {
    /// The token.
    pub token: u32,
    /// Its log-probability.
    pub value: f32,
}

/// A chosen token.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its log-probability, where it was asked for.
    pub logprob: Option<f32>,
    /// The likeliest tokens, the likeliest first.
    pub likeliest: Vec<LogProbability>,
}

/// Chooses tokens by the settings of one completion.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    random: SplitMix,
    /// Every token of prompt and completion, with how often it stands in the completion.
    seen: BTreeMap<u32, u32>,
    probabilities: Vec<f32>,
}

impl Sampler {
    pub fn new(sampling: &Sampling, prompt: &[u32]) -> Self {
        let seen = if sampling.repetition_penalty == 1.0 {
            BTreeMap::new()
        } else {
            prompt.iter().map(|token| (*token, 0)).collect()
        };
        let (sampling, random) = (sampling.clone(), SplitMix(sampling.seed));
        Self { sampling, random, seen, probabilities: Vec::new() }
    }

    /// The next token and what was asked to be told about it. `logits` may be changed; `allowed` is false for tokens
    /// that may not follow, and true for one at least. Among equally likely ones, the one of the lower number comes
    /// first.
    pub fn choose(&mut self, logits: &mut [f32], allowed: Option<&dyn Fn(u32) -> bool>) -> Choice {
        let told = self.sampling.logprobs.map(|count| (kernels::log_sum_exp(logits) as f32, likeliest(logits, count)));
        let before = told.is_some().then(|| logits.to_vec());
        self.penalise(logits);
        if let Some(allowed) = allowed {
            for (token, logit) in (0..).zip(logits.iter_mut()) {
                if !allowed(token) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        let token = if self.sampling.temperature == 0.0 { largest(logits) as u32 } else { self.draw(logits) };
        let counts = self.sampling.presence_penalty != 0.0 || self.sampling.frequency_penalty != 0.0;
        if counts || self.sampling.repetition_penalty != 1.0 {
            *self.seen.entry(token).or_default() += 1;
        }
        let (total, likeliest) = told.unzip();
        let value = |logit: f32| logit - total.unwrap_or_default();
        Choice {
            token,
            logprob: before.map(|logits| value(logits[token as usize])),
            likeliest: likeliest
                .unwrap_or_default()
                .into_iter()
                .map(|(token, logit)| LogProbability { token, value: value(logit) })
                .collect(),
        }
    }

    /// Biases and penalties.
    fn penalise(&self, logits: &mut [f32]) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.sampling;
        for (token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        for (token, count) in &self.seen {
            let Some(logit) = logits.get_mut(*token as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            if *count > 0 {
                *logit -= presence_penalty + frequency_penalty * *count as f32;
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> u32 {
        let Sampling { temperature, top_p, top_k, min_p, .. } = self.sampling;
        if top_k == 0 && top_p >= 1.0 && min_p == 0.0 {
            return self.draw_from_all(logits);
        }
        let mut candidates: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, likelier);
            candidates.truncate(top_k);
        }
        weigh(&mut self.probabilities, candidates.iter().map(|(_, logit)| *logit), temperature);
        for (candidate, probability) in candidates.iter_mut().zip(&self.probabilities) {
            candidate.1 = *probability;
        }
        let most = candidates.iter().fold(0.0_f32, |most, (_, probability)| most.max(*probability));
        // All tokens below the first bound together have less than 1 − top_p: none of them is drawn from.
        let tail = if top_p < 1.0 { 0.999 * (1.0 - top_p) / candidates.len() as f32 } else { 0.0 };
        candidates.retain(|(_, probability)| *probability >= tail && *probability >= min_p * most);
        candidates.sort_unstable_by(likelier);
        let (mut total, mut count) = (0.0, 0);
        for (_, probability) in &candidates {
            total += f64::from(*probability);
            count += 1;
            if top_p < 1.0 && total >= f64::from(top_p) {
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

    /// Draws without sorting.
    fn draw_from_all(&mut self, logits: &[f32]) -> u32 {
        weigh(&mut self.probabilities, logits.iter().copied(), self.sampling.temperature);
        let total: f64 = self.probabilities.iter().map(|probability| f64::from(*probability)).sum();
        let mut rest = self.random.unit() * total;
        for (token, probability) in (0..).zip(&self.probabilities) {
            rest -= f64::from(*probability);
            if rest < 0.0 {
                return token;
            }
        }
        largest(logits) as u32
    }
}

/// The likelier one first, and of equal ones the one of the lower number.
fn likelier(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// So many of the largest logits with their tokens, the largest first.
fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    if count == 0 {
        return Vec::new();
    }
    if count < all.len() {
        all.select_nth_unstable_by(count - 1, likelier);
        all.truncate(count);
    }
    all.sort_unstable_by(likelier);
    all
}

/// Probabilities of logits at a temperature.
fn weigh(probabilities: &mut Vec<f32>, logits: impl Iterator<Item = f32> + Clone, temperature: f32) {
    // Subtracting the largest first keeps a low temperature from overflowing.
    let largest = logits.clone().fold(f32::NEG_INFINITY, f32::max);
    probabilities.clear();
    probabilities.extend(logits.map(|logit| (logit - largest) / temperature));
    kernels::softmax(probabilities);
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
pub(crate) struct StopFilter {
    stops: Vec<String>,
    held: String,
}

impl StopFilter {
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.to_vec(), held: String::new() }
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
        assert_eq!(Sampler::new(&sampling, &[]).choose(&mut [1.0, 3.0, 3.0, -9.0], None).token, 1);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        // exp(ln 6) : exp(ln 3) : exp(ln 1) is 0.6 : 0.3 : 0.1.
        let logits = [3.0_f32.ln(), 6.0_f32.ln(), 0.0];
        let mut counts = [0_u32; 3];
        let mut sampler = Sampler::new(&Sampling { seed: 5, ..Sampling::default() }, &[]);
        for _ in 0..20_000 {
            counts[sampler.choose(&mut logits.clone(), None).token as usize] += 1;
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
            (Sampling { min_p: 0.85, ..Sampling::default() }, &[1, 2][..]),
            (Sampling { min_p: 0.8, ..Sampling::default() }, &[1, 2, 4][..]),
        ] {
            let mut sampler = Sampler::new(&settings, &[]);
            let drawn: std::collections::BTreeSet<u32> =
                (0..500).map(|_| sampler.choose(&mut logits.clone(), None).token).collect();
            assert_eq!(drawn.into_iter().collect::<Vec<_>>(), allowed, "{settings:?}");
        }
    }

    #[test]
    fn a_tiny_temperature_is_greedy() {
        let mut sampler = Sampler::new(&Sampling { temperature: 1e-30, ..Sampling::default() }, &[]);
        assert_eq!(sampler.choose(&mut [1.0, 3e38, -3e38], None).token, 1);
    }

    /// Greedy choices, one after another.
    fn chosen(sampling: Sampling, prompt: &[u32], logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(&Sampling { temperature: 0.0, ..sampling }, prompt);
        (0..count).map(|_| sampler.choose(&mut logits.to_vec(), None).token).collect()
    }

    #[test]
    fn penalties_and_biases_move_logits() {
        let logits = [2.0, 1.9, 1.0, -1.0];
        let plain = Sampling::default();
        assert_eq!(chosen(plain.clone(), &[], &logits, 2), [0, 0]);
        assert_eq!(chosen(Sampling { presence_penalty: 0.5, ..plain.clone() }, &[0], &logits, 4), [0, 1, 0, 0]);
        // 2.0, 1.9 − 0, then 2.0 − 0.6, 1.9 − 0.6, and so on.
        assert_eq!(chosen(Sampling { frequency_penalty: 0.6, ..plain.clone() }, &[], &logits, 5), [0, 1, 0, 1, 2]);
        // The prompt counts for this one alone; what is negative is multiplied.
        assert_eq!(chosen(Sampling { repetition_penalty: 1.5, ..plain.clone() }, &[0], &logits, 2), [1, 0]);
        assert_eq!(chosen(Sampling { repetition_penalty: 2.0, ..plain.clone() }, &[0], &[-1.0, -1.5], 1), [1]);
        assert_eq!(chosen(Sampling { logit_bias: vec![(3, 4.0), (99, 1.0)], ..plain }, &[], &logits, 1), [3]);
    }

    #[test]
    fn what_is_not_allowed_is_not_chosen() {
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(&Sampling { temperature, ..Sampling::default() }, &[]);
            let choice = sampler.choose(&mut [5.0, 1.0, 9.0], Some(&|token| token == 1));
            assert_eq!(choice.token, 1);
        }
    }

    #[test]
    fn log_probabilities_are_the_models_own() {
        let sampling = Sampling { logprobs: Some(2), logit_bias: vec![(0, 100.0)], ..Sampling::default() };
        let logits = [1.0_f32.ln(), 6.0_f32.ln(), 3.0_f32.ln()];
        let choice = Sampler::new(&sampling, &[]).choose(&mut logits.clone(), None);
        let close = |value: f32, wanted: f32| assert!((value - wanted.ln()).abs() < 1e-6, "{value} and {wanted}");
        assert_eq!(choice.token, 0);
        close(choice.logprob.unwrap(), 0.1);
        assert_eq!(choice.likeliest.iter().map(|one| one.token).collect::<Vec<_>>(), [1, 2]);
        close(choice.likeliest[0].value, 0.6);
        close(choice.likeliest[1].value, 0.3);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = [
            Sampling { min_p: -0.1, ..Sampling::default() },
            Sampling { repetition_penalty: 0.0, ..Sampling::default() },
            Sampling { presence_penalty: f32::NAN, ..Sampling::default() },
            Sampling { frequency_penalty: 101.0, ..Sampling::default() },
            Sampling { logit_bias: vec![(0, f32::INFINITY)], ..Sampling::default() },
            Sampling { logprobs: Some(21), ..Sampling::default() },
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
